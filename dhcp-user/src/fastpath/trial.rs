//! One run of a loaded program over one frame (`BPF_PROG_TEST_RUN`), attached or not: how the differential tests ask the
//! kernel itself, and what the verifier made of the program.

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use dhcp_common::{
    abi::name,
    wire::{ANSWER_OPTIONS_MAX, HEADERS_LEN},
};

use super::{error::FastPathError, kernel::KernelPath};

/// The most octets an answer can have: two tags and the longest option area.
const ANSWER_MAX: usize = 22 + HEADERS_LEN + ANSWER_OPTIONS_MAX;

/// What a program did with a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The XDP action: 2 passes the frame up, 3 sends it back.
    pub action: u32,
    /// The frame as the program left it.
    pub frame: Vec<u8>,
}

impl KernelPath {
    /// Runs the program of the port with index `port` once over `frame` (14 octets or more, at most what fits a page
    /// beside headroom and tailroom). Counters and marks move as for a frame received.
    ///
    /// # Errors
    /// If there is no such port, or the kernel refuses.
    pub fn test_run(&self, port: usize, frame: &[u8]) -> Result<Trial, FastPathError> {
        let (program, interface) = self.program(port)?;
        let mut out = vec![0; frame.len().max(ANSWER_MAX)];
        let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::new() };
        let result = program
            .test_run(options)
            .map_err(|error| FastPathError::Program { interface: interface.to_owned(), error })?;
        out.truncate(usize::try_from(result.data_size_out).unwrap_or(usize::MAX));
        Ok(Trial { action: result.return_value, frame: out })
    }

    /// How many instructions the verifier looked at before it let the program of a port pass; `None` if the kernel does
    /// not tell (before Linux 5.16).
    ///
    /// # Errors
    /// As [`test_run`](Self::test_run).
    pub fn verified_instructions(&self, port: usize) -> Result<Option<u32>, FastPathError> {
        let (program, interface) = self.program(port)?;
        let info =
            program.info().map_err(|error| FastPathError::Program { interface: interface.to_owned(), error })?;
        Ok(info.verified_instruction_count())
    }

    fn program(&self, port: usize) -> Result<(&Xdp, &str), FastPathError> {
        let (port, object) = self.objects.get(port).ok_or(FastPathError::Missing("interface to run on"))?;
        let program = object.program(name::PROGRAM).ok_or(FastPathError::Missing("program"))?;
        let program = program
            .try_into()
            .map_err(|error| FastPathError::Program { interface: port.name.clone(), error })?;
        Ok((program, &port.name))
    }
}
