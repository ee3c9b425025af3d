//! What would run the model stands here; the tests are in `tests/first_pass.rs`.
