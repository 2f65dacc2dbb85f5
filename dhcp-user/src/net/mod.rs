//! Frames in and out: receiving what the kernel program passed up, sending replies by raw frames.

pub mod address;
pub mod batch;
pub mod frame;
pub mod interface;
pub mod packet_socket;
pub mod xdp_mode;
