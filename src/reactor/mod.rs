//! What descriptors need of the reactor beyond what its library has. Knows neither devices nor outlets.

#[cfg(unix)]
mod room_unix;

#[cfg(unix)]
pub(crate) use room_unix::Room;
