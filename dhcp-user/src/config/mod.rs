//! Configuration: the JSON file as written (strict), and the validated [`model`].

pub mod model;
