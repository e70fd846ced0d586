//! Test kit of the Exitgate black-box suites.
