//! The pure DHCP engine: `(now, rng, configuration, lease state, message) -> effects`. No clock, socket, file or map.
