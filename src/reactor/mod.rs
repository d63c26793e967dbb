//! What descriptors need of the reactor beyond what its library has. Knows neither devices nor outlets.

#[cfg(target_os = "linux")]
mod alarm_linux;
#[cfg(unix)]
mod room_unix;
#[cfg(unix)]
mod short_reads_unix;

#[cfg(unix)]
pub(crate) use room_unix::Room;
#[cfg(unix)]
pub(crate) use short_reads_unix::ShortReads;
