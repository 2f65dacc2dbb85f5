//! A running daemon takes up another configuration: the product's changeover over the simulator's maps.

use std::sync::Arc;

use dhcp_common::abi::Control;
use dhcp_user::{
    config::model::Config,
    fastpath::error::FastPathError,
    server::{
        changeover::{Change, ChangeError, Changeover},
        keeper::{Keeper, KeeperError},
    },
    time::Span,
};

use super::{
    kernel::{INTERFACE, SimMap},
    planted::Planted,
    scenario::{MS, SERVER},
    start::random_key,
    store::SimStore,
    world::{Shared, lock},
};

/// Puts the configuration with number `variant` in force; the maps in use then, if it was not refused.
///
/// # Errors
/// If the daemon dies, or store or kernel fail, in the middle.
pub fn reload(
    shared: &Shared,
    keeper: &mut Keeper<SimStore, SimMap>,
    variant: u8,
) -> Result<Option<(Arc<Config>, usize)>, KeeperError> {
    let (config, random_key) = {
        let mut world = lock(shared);
        world.note(None, None, || format!("the daemon takes up configuration {variant}"));
        let key = random_key(&mut world.rng);
        (Arc::new(world.scenario.config(variant)), key)
    };
    let change = Change {
        config: Arc::clone(&config),
        servers: vec![SERVER],
        interfaces: vec![INTERFACE],
        local: vec![SERVER],
        probing: None,
        random_key,
    };
    let authority = Span::from_secs(config.fastpath.authority_secs.into());
    let mut side = SimChangeover { shared: Arc::clone(shared), config: Arc::clone(&config), fresh: 0 };
    match keeper.change_over(change, &mut side, authority) {
        Ok(()) => {
            let mut world = lock(shared);
            world.config = Arc::clone(&config);
            world.reloads += 1;
            Ok(Some((config, side.fresh)))
        }
        Err(ChangeError::Failed(error)) => Err(error),
        Err(refused) => {
            lock(shared).note(None, None, || refused.to_string());
            Ok(None)
        }
    }
}

/// The kernel's side of it.
struct SimChangeover {
    shared: Shared,
    config: Arc<Config>,
    fresh: usize,
}

fn died() -> FastPathError {
    FastPathError::Missing("daemon: it died")
}

impl Changeover for SimChangeover {
    type Map = SimMap;

    fn boot_ns(&self) -> u64 {
        lock(&self.shared).boot_ns()
    }

    fn load(&mut self, control: &Control) -> Result<SimMap, FastPathError> {
        let mut world = lock(&self.shared);
        world.live()?;
        let id = world.new_maps(&self.config, control);
        world.kernel.sets.push(id);
        self.fresh = id;
        Ok(SimMap { shared: Arc::clone(&self.shared), id })
    }

    fn attach(&mut self, map: &mut SimMap) -> Result<(), FastPathError> {
        let mut world = lock(&self.shared);
        world.live()?;
        world.kernel.attached = Some(map.id);
        Ok(())
    }

    fn wait_for_programs(&mut self) -> Result<(), FastPathError> {
        let mut world = lock(&self.shared);
        if world.planted == Some(Planted::ReloadWithoutWait) {
            return Ok(());
        }
        let end_ns = world.programs_end_ns() + MS;
        world.run_until(end_ns, false);
        if world.death.is_some() { Err(died()) } else { Ok(()) }
    }

    fn discard(&mut self, map: SimMap) {
        let mut world = lock(&self.shared);
        if !world.burn() {
            world.kernel.sets.retain(|id| *id != map.id);
        }
    }
}
