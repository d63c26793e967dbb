//! Being the service: the daemon under the service manager, which is told of its state and whose controls are its signals.
//!
//! ```text
//!   start pending ── pipes stand ──► running ── stop, shutdown ──► stop pending ── all is flushed ──► stopped
//! ```

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle};
use windows_service::{define_windows_service, service_dispatcher};

use super::super::signals::Received;
use super::super::{run, with_runtime};
use super::{Failure, NAME, Outcome};

/// Lets the service manager start the service in this process, and returns when it has stopped.
pub(super) fn run(dir: Option<PathBuf>, config: Option<PathBuf>) -> Outcome {
    let _ = JOB.set((dir, config));
    let refused =
        |e| Failure::usage(format!("only the service manager can do this ({e}); write: usbpipe service start"));
    service_dispatcher::start(NAME, service_entry).map_err(refused)?;
    Ok(0)
}

define_windows_service!(service_entry, serve);

/// What was given on the command line; the service manager calls back without it.
static JOB: OnceLock<(Option<PathBuf>, Option<PathBuf>)> = OnceLock::new();
static STATUS: OnceLock<ServiceStatusHandle> = OnceLock::new();
static CONTROLS: Mutex<Option<UnboundedReceiver<Received>>> = Mutex::new(None);

/// The service from its start to its end, on a thread of the service manager's.
fn serve(_words: Vec<OsString>) {
    let (controls, received) = unbounded_channel();
    *CONTROLS.lock().unwrap_or_else(PoisonError::into_inner) = Some(received);
    match service_control_handler::register(NAME, move |control| obey(control, &controls)) {
        Ok(status) => drop(STATUS.set(status)),
        Err(e) => return tracing::error!("the service manager does not listen: {e}"),
    }
    report(ServiceState::StartPending, 0);
    let (dir, config) = JOB.get().cloned().unwrap_or_default();
    let code = with_runtime(run::run(dir, config)).unwrap_or_else(|failure| {
        tracing::error!("{}", failure.message);
        failure.code.into()
    });
    report(ServiceState::Stopped, code);
}

fn obey(control: ServiceControl, controls: &UnboundedSender<Received>) -> ServiceControlHandlerResult {
    let received = match control {
        ServiceControl::Stop | ServiceControl::Shutdown => Received::End,
        ServiceControl::ParamChange => Received::Reload,
        ServiceControl::Interrogate => return ServiceControlHandlerResult::NoError,
        _ => return ServiceControlHandlerResult::NotImplemented,
    };
    // When nobody listens any more, the end has begun.
    let _ = controls.send(received);
    ServiceControlHandlerResult::NoError
}

/// What the service manager asks of this process, if it is a service.
pub(in super::super) struct Controls(Option<UnboundedReceiver<Received>>);

impl Controls {
    /// There is one for a process.
    pub(in super::super) fn take() -> Self {
        Self(CONTROLS.lock().unwrap_or_else(PoisonError::into_inner).take())
    }

    /// Never resolves in a process that is no service.
    pub(in super::super) async fn next(&mut self) -> Received {
        let asked = match &mut self.0 {
            Some(controls) => controls.recv().await,
            None => None,
        };
        match asked {
            Some(received) => received,
            None => std::future::pending().await,
        }
    }
}

/// Outlets and commands work.
pub(in super::super) fn ready() {
    report(ServiceState::Running, 0);
}

/// The end has begun.
pub(in super::super) fn stopping() {
    report(ServiceState::StopPending, 0);
}

/// Tells the service manager, where there is one to tell.
fn report(state: ServiceState, code: i32) {
    let Some(status) = STATUS.get() else { return };
    let takes = ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN | ServiceControlAccept::PARAM_CHANGE;
    let is_running = state == ServiceState::Running;
    let told = status.set_service_status(ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: state,
        controls_accepted: if is_running { takes } else { ServiceControlAccept::empty() },
        exit_code: if code == 0 {
            ServiceExitCode::NO_ERROR
        } else {
            ServiceExitCode::ServiceSpecific(code.cast_unsigned())
        },
        checkpoint: 0,
        wait_hint: if is_running || state == ServiceState::Stopped { Duration::ZERO } else { WAIT },
        process_id: None,
    });
    if let Err(e) = told {
        tracing::warn!("telling the service manager failed: {e}");
    }
}

/// How long starting and stopping may take until the service manager thinks that it hangs.
const WAIT: Duration = Duration::from_secs(20);
