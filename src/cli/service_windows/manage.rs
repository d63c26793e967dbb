//! Installs, removes, starts and stops the service, by asking the service manager. It is never the service itself.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use windows_service::Error;
use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceErrorControl, ServiceFailureActions,
    ServiceFailureResetPeriod, ServiceInfo, ServiceStartType, ServiceState, ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_SERVICE_ALREADY_RUNNING, ERROR_SERVICE_DOES_NOT_EXIST, ERROR_SERVICE_EXISTS,
    ERROR_SERVICE_NOT_ACTIVE,
};

use super::super::status::print_line;
use super::{Failure, NAME, Outcome, folder};

/// `service install`.
pub(super) fn install(dir: Option<PathBuf>, config: Option<PathBuf>) -> Outcome {
    let access = ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE;
    let manager = manager(access, "installing the service")?;
    let config = match config {
        Some(config) => absolute(&config)?,
        None => folder::config_file()?,
    };
    folder::make()?;
    let info = info(launch_arguments(&config, dir, folder::log_file()?))?;
    let service = manager.create_service(&info, ServiceAccess::CHANGE_CONFIG | ServiceAccess::START);
    let service = service.map_err(|e| failure("installing the service", &e))?;
    let described = service.set_description("USB pipes and CDC serial as named pipes: \\\\.\\pipe\\usbpipe");
    described
        .and_then(|()| service.update_failure_actions(again()))
        .map_err(|e| failure("describing the service", &e))?;
    let hint = if config.exists() { "start it by: usbpipe service start" } else { "write that file, then start it" };
    print_line(&format!("installed, with the configuration {}; {hint}", config.display()))?;
    Ok(0)
}

/// `service uninstall`.
pub(super) fn uninstall() -> Outcome {
    let what = "removing the service";
    let service = service(ServiceAccess::QUERY_STATUS | ServiceAccess::STOP | ServiceAccess::DELETE, what)?;
    if state(&service)? != ServiceState::Stopped {
        stop_and_wait(&service)?;
    }
    service.delete().map_err(|e| failure(what, &e))?;
    print_line("removed")?;
    Ok(0)
}

/// `service start`.
pub(super) fn start() -> Outcome {
    let what = "starting the service";
    let service = service(ServiceAccess::QUERY_STATUS | ServiceAccess::START, what)?;
    service.start::<OsString>(&[]).map_err(|e| failure(what, &e))?;
    wait(&service, ServiceState::Running, what)?;
    print_line("started")?;
    Ok(0)
}

/// `service stop`.
pub(super) fn stop() -> Outcome {
    stop_and_wait(&service(ServiceAccess::QUERY_STATUS | ServiceAccess::STOP, "stopping the service")?)?;
    print_line("stopped")?;
    Ok(0)
}

fn stop_and_wait(service: &Service) -> Result<(), Failure> {
    let what = "stopping the service";
    service.stop().map_err(|e| failure(what, &e))?;
    wait(service, ServiceState::Stopped, what)
}

/// The manager tells of changes only by calling back; a person waits here, so that asking is good enough.
fn wait(service: &Service, wanted: ServiceState, what: &str) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let state = state(service)?;
        let log = folder::log_file().map(|log| log.display().to_string()).unwrap_or_default();
        if state == wanted {
            return Ok(());
        }
        if state == ServiceState::Stopped {
            return Err(Failure::run_time(format!("{what} failed; {log} says why")));
        }
        if Instant::now() > deadline {
            return Err(Failure::run_time(format!("{what} takes longer than {PATIENCE:?}; {log} may say why")));
        }
        std::thread::sleep(LOOK);
    }
}

fn state(service: &Service) -> Result<ServiceState, Failure> {
    let status = service.query_status().map_err(|e| failure("asking for the service's state", &e))?;
    Ok(status.current_state)
}

fn service(access: ServiceAccess, what: &str) -> Result<Service, Failure> {
    manager(ServiceManagerAccess::CONNECT, what)?.open_service(NAME, access).map_err(|e| failure(what, &e))
}

fn manager(access: ServiceManagerAccess, what: &str) -> Result<ServiceManager, Failure> {
    ServiceManager::local_computer(None::<&str>, access).map_err(|e| failure(what, &e))
}

fn info(launch_arguments: Vec<OsString>) -> Result<ServiceInfo, Failure> {
    let executable_path = std::env::current_exe().map_err(|e| Failure::run_time(format!("where am I: {e}")))?;
    Ok(ServiceInfo {
        name: NAME.into(),
        display_name: "usbpipe".into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path,
        launch_arguments,
        dependencies: Vec::new(),
        account_name: Some(r"NT AUTHORITY\LocalService".into()),
        account_password: None,
    })
}

fn launch_arguments(config: &Path, dir: Option<PathBuf>, log: PathBuf) -> Vec<OsString> {
    let dir = dir.into_iter().flat_map(|dir| ["--dir".into(), dir.into_os_string()]);
    let config = ["-c".into(), config.as_os_str().to_owned()];
    let run = ["service".into(), "run".into(), "--log".into(), log.into_os_string()];
    config.into_iter().chain(dir).chain(run).collect()
}

/// A service that broke down is started again, three times a day.
fn again() -> ServiceFailureActions {
    let restart = ServiceAction { action_type: ServiceActionType::Restart, delay: Duration::from_secs(1) };
    ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(Duration::from_secs(24 * 60 * 60)),
        reboot_msg: None,
        command: None,
        actions: Some(vec![restart; 3]),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))
}

/// What was being done, why it failed, and what to try.
fn failure(what: &str, error: &Error) -> Failure {
    let Error::Winapi(cause) = error else { return Failure::run_time(format!("{what} failed: {error}")) };
    let advice = match cause.raw_os_error().map(|code| code as u32) {
        Some(ERROR_ACCESS_DENIED) => "; do it in a terminal that was opened as administrator",
        Some(ERROR_SERVICE_DOES_NOT_EXIST) => "; install it by: usbpipe service install",
        Some(ERROR_SERVICE_EXISTS) => "; remove it first by: usbpipe service uninstall",
        Some(ERROR_SERVICE_ALREADY_RUNNING) => "; it serves already, see: usbpipe status",
        Some(ERROR_SERVICE_NOT_ACTIVE) => "; it is not running",
        _ => "",
    };
    Failure::run_time(format!("{what} failed: {cause}{advice}"))
}

const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);
