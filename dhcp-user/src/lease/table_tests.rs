//! The lease table against a plain model.
