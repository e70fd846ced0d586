//! Why a command ends without success, and the exit code that says so.

use std::io;
use std::process::ExitCode;

use exitgate_controller::source::LoadError;

/// Why a command cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Standard output went away or failed.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    /// Policies or settings are wrong.
    #[error("{0}")]
    Problem(String),
    /// The system refused: a port, a file, a directory.
    #[error("{0}")]
    System(String),
    /// The command line cannot be meant.
    #[error("{0}")]
    Usage(String),
}

impl Failure {
    /// What to tell; nothing where the reader has closed the pipe, which is their way to say that they saw enough.
    pub(crate) fn message(&self) -> Option<String> {
        match self {
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => None,
            Self::Output(_) | Self::Problem(_) | Self::System(_) | Self::Usage(_) => {
                Some(self.to_string())
            }
        }
    }

    pub(crate) fn code(&self) -> ExitCode {
        match self {
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Self::Problem(_) => PROBLEM.into(),
            Self::Usage(_) => ExitCode::from(2),
            Self::Output(_) | Self::System(_) => ExitCode::from(3),
        }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        Self::System(error.to_string())
    }
}

/// The exit code of a run that found problems and has already shown them.
pub(crate) const PROBLEM: u8 = 1;
