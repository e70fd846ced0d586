//! The policy language of Exitgate: model, compiler and decision. Pure: no I/O, no clock.
