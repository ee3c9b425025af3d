//! Set-up from end to end, with small wheels made here and without a network.

mod install;
mod manifest;
mod pip;
mod status;
mod support;
