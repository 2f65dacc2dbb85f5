//! The consensus log as the nodes see it: commands are agreed on one after the other, if a majority can be reached; who
//! cannot reach one hears nothing, and anybody may hear late. What was proposed may be lost, or come true much later.

use dhcp_user::site::delegation::{Command, Delegations};

/// The log.
#[derive(Debug, Default)]
pub struct Consensus {
    log: Vec<Command>,
}

impl Consensus {
    /// A command is agreed on.
    pub fn agree(&mut self, command: Command) {
        self.log.push(command);
    }

    /// How many commands there are.
    pub fn len(&self) -> u64 {
        self.log.len() as u64
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    /// The command with an index; the first has 1.
    pub fn get(&self, index: u64) -> Option<&Command> {
        self.log.get(usize::try_from(index.checked_sub(1)?).ok()?)
    }

    /// The state after the first so many commands.
    pub fn state(&self, upto: u64) -> Delegations {
        let mut state = Delegations::default();
        for command in self.log.iter().take(usize::try_from(upto).unwrap_or(usize::MAX)) {
            // Void commands are part of every log.
            let _ = state.apply(command);
        }
        state
    }
}
