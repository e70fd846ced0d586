//! The `exitgate` command.

fn main() {}
