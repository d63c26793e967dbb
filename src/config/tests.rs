//! The configuration by example, each refusal at its place, and by arbitrary damage.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::selector::Remote;
use proptest::prelude::*;

/// §7 of the contract as it stands.
const CONTRACT: &str = r#"[[device]]
name = "arduino"
match = { vid = 0x2341, pid = [0x0043, 0x0001], serial = "75330303035351E0F1B1" }   # also: port = "1-1.4", product = "…"
group = "dialout"
[device.serial]
baud = 115200
reset = "on-open"
outlets = ["fifo", "tty", "socket"]
# run = ["./logger", "--stdin"]    # started at each attach with the serial line as stdin and stdout, ended at detach

[[device]]
name = "probe"
match = { vid = 0x1209, pid = 0x0001 }
backend = "auto"                   # auto | nusb | libusb | serial | usbip
# remote = "usbip://lab-pi:3240/1-1.4"
unplug = "hold"
[[device.pipe]]
endpoint = 0x81
outlets = ["fifo", "socket"]
framing = "stream"
transfer = 65536                   # bytes a transfer, rounded to wMaxPacketSize
queue = 8                          # transfers in flight
[[device.pipe]]
endpoint = 0x83                    # an isochronous endpoint of interface 1, alternate setting 1
interface = 1
alt = 1
"#;

/// Every key with a value that is not its default.
const EVERYTHING: &str = r#"[[device]]
name = "all of it"
match = { vid = 1, pid = 0xffff, serial = "S", port = "1-1.4", product = "P…" }
backend = "usbip"
remote = "usbip://[::1]:99/1-1"
unplug = "eof"
timeout = 0.5
detach = true
owner = "root"
group = "dialout"
mode = 0o660
[device.serial]
driver = "user"
lock = false
baud = 9600
mode = "7E2"
flow = "none"
dtr = true
rts = false
reset = "if-idle"
profile = "esp"
boot_wait = "2s"
outlets = []
run = ["./logger", ""]
unread = 0
on_open = "discard"
idle = "drain"
flush = 0
patience = "forever"
interface = 2
owner = "u"
group = "g"
[[device.pipe]]
endpoint = 0x81
interface = 1
alt = 2
outlets = ["socket"]
framing = "jsonl"
transfer = "1M"
queue = 64
idle = "drain"
on_open = "discard"
stall = "stop"
patience = "forever"
buffer = "1s"
mode = "0640"
[[device.pipe]]
endpoint = 0x02
zlp = false
flush = "2m"
writers = "one"
prebuffer = "100ms"
underrun = "stop"
packet = 192
"#;

fn parse(text: &str) -> Config {
    Config::parse(text, Path::new("t.toml")).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

fn refusals(text: &str) -> Vec<String> {
    let errors = Config::parse(text, Path::new("t.toml")).expect_err(text);
    errors.iter().map(ToString::to_string).collect()
}

/// A device with this pipe table.
fn pipe(keys: &str) -> String {
    format!("[[device]]\nname = \"d\"\nmatch = {{ vid = 1 }}\n[[device.pipe]]\n{keys}\n")
}

/// Refused at this line and column for this reason, and for nothing else.
fn assert_refused(text: &str, place: &str, reason: &str) {
    let refusals = refusals(text);
    let as_told = refusals[0].starts_with(&format!("t.toml:{place}: ")) && refusals[0].contains(reason);
    assert!(as_told && refusals.len() == 1, "{text}\nexpected {place} … {reason}\ngot {refusals:#?}");
}

#[test]
fn the_example_of_the_contract_is_understood() {
    let config = parse(CONTRACT);
    let [arduino, probe] = config.devices.as_slice() else { panic!("two devices") };
    assert_eq!(arduino.matches.pid, [0x43, 1]);
    assert_eq!(arduino.access.group.as_deref(), Some("dialout"));
    let serial = arduino.serial.as_ref().unwrap();
    assert_eq!((serial.baud, serial.reset, serial.driver), (Some(115_200), ResetPolicy::OnOpen, Driver::Kernel));
    assert_eq!(serial.outlets, [OutletKind::Fifo, OutletKind::Tty, OutletKind::Socket]);
    let first = PipeConfig {
        outlets: vec![OutletKind::Fifo, OutletKind::Socket],
        transfer: Some(65536),
        queue: Some(8),
        ..PipeConfig::new(0x81)
    };
    let second = PipeConfig { interface: Some(1), alt: Some(1), ..PipeConfig::new(0x83) };
    assert_eq!(probe.pipes, [first, second]);
}

#[test]
fn the_commented_lines_of_the_example_are_understood_too() {
    let text = CONTRACT.replace("# run", "run").replace("# remote", "remote");
    let config = parse(&text);
    assert_eq!(config.devices[0].serial.as_ref().unwrap().run.as_ref().unwrap().words, ["./logger", "--stdin"]);
    let remote = Remote { host: "lab-pi".into(), port: 3240, busid: Some("1-1.4".into()) };
    assert_eq!(config.devices[1].remote, Some(remote));
}

#[test]
fn every_key_is_understood() {
    let config = parse(EVERYTHING);
    let access = |owner: Option<&str>, group: Option<&str>, mode| Access {
        owner: owner.map(Into::into),
        group: group.map(Into::into),
        mode,
        sddl: None,
    };
    let input = PipeConfig {
        interface: Some(1),
        alt: Some(2),
        outlets: vec![OutletKind::Socket],
        framing: Framing::Jsonl,
        transfer: Some(1 << 20),
        queue: Some(64),
        idle: Idle::Drain,
        on_open: OnOpen::Discard,
        stall: StallPolicy::Stop,
        patience: Patience::Forever,
        buffer: Duration::from_secs(1),
        access: access(None, None, Some(0o640)),
        ..PipeConfig::new(0x81)
    };
    let output = PipeConfig {
        zlp: Some(false),
        flush: Duration::from_secs(120),
        writers: Writers::One,
        prebuffer: Duration::from_millis(100),
        underrun: Underrun::Stop,
        packet: Some(192),
        ..PipeConfig::new(0x02)
    };
    let serial = SerialConfig {
        network: NetworkConfig::default(),
        driver: Driver::User,
        lock: false,
        baud: Some(9600),
        mode: Some(SerialMode { data_bits: 7, parity: Parity::Even, stop_bits: StopBits::Two }),
        flow: Flow::None,
        dtr: Some(true),
        rts: Some(false),
        reset: ResetPolicy::IfIdle,
        profile: "esp".into(),
        boot_wait: Duration::from_secs(2),
        outlets: vec![],
        run: Some(Program { words: vec!["./logger".into(), String::new()], folder: std::env::current_dir().unwrap() }),
        unread: Unread::For(Duration::ZERO),
        on_open: OnOpen::Discard,
        idle: Idle::Drain,
        flush: Duration::ZERO,
        patience: Patience::Forever,
        interface: Some(2),
        access: access(Some("u"), Some("g"), None),
    };
    let device = DeviceConfig {
        matches: Match {
            vid: Some(1),
            pid: vec![0xffff],
            serial: Some("S".into()),
            port: Some("1-1.4".into()),
            product: Some("P…".into()),
        },
        backend: Backend::Usbip,
        remote: Some(Remote { host: "::1".into(), port: 99, busid: Some("1-1".into()) }),
        unplug: Unplug::Eof,
        timeout: Duration::from_millis(500),
        access: access(Some("root"), Some("dialout"), Some(0o660)),
        pipes: vec![input, output],
        serial: Some(serial),
        detach: true,
        ..DeviceConfig::new("all_of_it")
    };
    assert_eq!(config.devices, [device]);
}

#[test]
fn what_means_the_same_compares_equal_wherever_it_stands() {
    let moved = CONTRACT.replace("\n", "\n\n").replace("65536", "\"64K\"");
    assert_eq!(parse(CONTRACT), parse(&moved));
}

#[test]
fn an_empty_file_is_a_configuration_without_devices() {
    assert_eq!(parse(""), Config::default());
}

#[test]
fn windows_line_ends_change_nothing() {
    assert_eq!(parse(&CONTRACT.replace('\n', "\r\n")), parse(CONTRACT));
}

#[test]
fn a_device_is_found_by_its_name_as_written_and_as_on_disk() {
    let config = parse(EVERYTHING);
    assert!(config.device("all of it").is_some() && config.device("all_of_it").is_some());
    assert!(config.device("other").is_none());
}

#[test]
fn without_a_name_a_device_is_called_by_its_ids() {
    let config = parse("[[device]]\nmatch = { vid = 0x2341, pid = 0x43, serial = \"A B\" }");
    assert_eq!(config.devices[0].name, "2341-0043-A_B");
    assert_refused("[[device]]\nmatch = { vid = 1, pid = [1, 2] }", "1:1", "needs `name`");
    assert_refused("[[device]]\nremote = \"usbip://h/1-1\"", "1:1", "needs `name`");
}

#[test]
fn a_remote_device_has_the_user_driver_by_default() {
    let text = "[[device]]\nname = \"d\"\nremote = \"usbip://h/1-1\"\n[device.serial]\n";
    assert_eq!(parse(text).devices[0].serial.as_ref().unwrap().driver, Driver::User);
    assert_refused(&format!("{text}driver = \"kernel\""), "5:10", "write driver = \"user\"");
}

#[test]
fn a_fifo_in_packet_framing_has_transfers_that_it_can_keep_whole() {
    let packets = |outlet: &str| pipe(&format!("endpoint = 0x81\nframing = \"packet\"\noutlets = [\"{outlet}\"]"));
    let transfer = |outlet: &str| parse(&packets(outlet)).devices[0].pipes[0].longest_transfer();
    assert_eq!(["fifo", "socket", "pipe"].map(transfer), [4096, 65536, 65536]);
    assert_refused(&(packets("fifo") + "transfer = 4097"), "8:12", "at most 4096");
}

#[test]
fn shapes_that_the_file_cannot_have_are_refused_in_its_own_words() {
    assert_refused("[[device]]\n  colour = 1", "2:3", "unknown key `colour`, expected one of `name`");
    assert_refused("[[device]]\nname = 1", "2:8", "expected a string");
    assert_refused("[[device]]\nmatch = { vid = true }", "2:17", "expected a number or a string");
    assert_refused("[[device]]\nunplug = \"wait\"", "2:10", "`unplug`: unknown value `wait`, expected `hold` or `eof`");
    assert_refused("[[device]]\nunplug = 3", "2:10", "`unplug`: expected a string");
    assert_refused("[[device]]\nserial = { outlets = [\"fif\"] }", "2:23", "`outlets`: unknown value `fif`");
    assert_refused("[[device]]\nname = \"a\"\nname = \"b\"", "3:1", "duplicate key");
    assert_refused("[device]\nname = \"a\"", "1:1", "write [[device]]");
    assert_refused("[[device]]\n[[device.pipe]]\nqueue = 1", "2:1", "missing key `endpoint`");
    assert_refused("é = [\n", "1:6", "");
    assert_refused("[[device]]\nmatch = \"2341:0043\"", "2:9", "expected a table");
}

#[test]
fn an_array_does_not_stand_for_a_table() {
    assert_refused("[[device]]\nname = \"d\"\nmatch = [0x2341, 0x43]", "3:9", "expected a table");
    assert_refused("[[device]]\n[[device.serial]]\nbaud = 1", "2:1", "expected a table");
    assert_refused("device = [[\"d\"]]", "1:11", "expected a table");
}

#[test]
fn a_device_says_which_one_it_is() {
    assert_refused("[[device]]\nname = \"d\"", "1:1", "needs `match");
    assert_refused("[[device]]\nname = \"d\"\nmatch = {}", "3:9", "empty `match`");
    assert_refused("[[device]]\nname = \"d\"\nmatch = { pid = 1 }", "3:17", "without `vid`");
    assert_refused("[[device]]\nname = \"d\"\nmatch = { vid = 0x10000 }", "3:17", "0x0000 to 0xffff");
    assert_refused("[[device]]\nname = \"d\"\nmatch = { vid = 1, pid = [1, \"2\"] }", "3:30", "`pid` is \"2\"");
    assert_refused("[[device]]\nname = \"d\"\nmatch = { vid = 1, pid = [] }", "3:26", "empty list");
    assert_refused("[[device]]\nname = \"d\"\nmatch = { port = \"1.4\" }", "3:18", "as \"1-1.4\"");
    assert_refused("[[device]]\nname = \"d\"\nmatch = { serial = \"\" }", "3:20", "`serial` is empty");
}

#[test]
fn backend_and_remote_agree() {
    assert_refused("[[device]]\nname = \"d\"\nmatch = { vid = 1 }\nbackend = \"usbip\"", "4:11", "needs `remote");
    let nusb = "[[device]]\nname = \"d\"\nbackend = \"nusb\"\nremote = \"usbip://h/1\"";
    assert_refused(nusb, "3:11", "leave `backend` out");
    assert_refused("[[device]]\nname = \"d\"\nremote = \"lab-pi\"", "3:10", "write usbip://host");
}

#[test]
fn names_are_valid_and_different_on_disk() {
    let two = |a: &str, b: &str| {
        format!("[[device]]\nname = {a}\nmatch = {{ vid = 1 }}\n[[device]]\nname = {b}\nmatch = {{ vid = 1 }}")
    };
    assert_refused(&two("\"a\"", "\"a\""), "5:8", "`a` is already the device of line 2; choose another name");
    assert_refused(&two("\"a b\"", "\"a/b\""), "5:8", "`a/b` is `a_b` on disk, as the device of line 2");
    assert_refused(&two("\"\"", "\"a\""), "2:8", "`name` is empty");
    assert_refused(&two("\"a\\nb\"", "\"a\""), "2:8", "control characters");
    assert_refused(&two(&format!("\"{}\"", "x".repeat(65)), "\"a\""), "2:8", "longer than 64 bytes");
    assert_eq!(
        parse(&two("\"../x\"", "\"lock\"")).devices.iter().map(|d| d.name.clone()).collect::<Vec<_>>(),
        ["_._x", "lock_"]
    );
}

#[test]
fn endpoints_are_addresses_and_different() {
    for endpoint in ["0x00", "0x80", "0x10", "0x90", "0x100", "-1", "\"ep_81\"", "1.0"] {
        assert_refused(&pipe(&format!("endpoint = {endpoint}")), "5:12", "0x81 to 0x8f (IN)");
    }
    assert_refused(
        &pipe("endpoint = 0x81\n[[device.pipe]]\nendpoint = 129"),
        "7:12",
        "endpoint 0x81 is already a pipe",
    );
    let alts = "endpoint = 0x81\ninterface = 1\nalt = 1\n[[device.pipe]]\nendpoint = 2\ninterface = 1\nalt = 2";
    assert_refused(&pipe(alts), "11:7", "one alternate setting at a time");
}

#[test]
fn a_device_has_several_serial_lines_of_one_driver() {
    let text =
        "[[device]]\nname = \"d\"\nmatch = { vid = 1 }\n[device.serial]\nbaud = 1\n[device.serial-2]\nbaud = 2\n";
    let device = &parse(text).devices[0];
    let speeds: Vec<(usize, Option<u32>)> = device.serial_lines().map(|(nth, serial)| (nth, serial.baud)).collect();
    assert_eq!(speeds, [(0, Some(1)), (1, Some(2))]);
    assert_refused(&format!("{text}driver = \"user\""), "6:1", "the same `driver`");
    assert_refused("[[device]]\n[device.serial-5]", "2:9", "unknown key `serial-5`");
}

#[test]
fn a_zlp_closes_messages_and_a_stream_has_none() {
    assert_refused(&pipe("endpoint = 2\nzlp = true"), "6:7", "`zlp` closes messages");
    let framed = parse(&pipe("endpoint = 2\nzlp = true\nframing = \"length\""));
    assert_eq!(framed.devices[0].pipes[0].zlp, Some(true));
    assert_eq!(parse(&pipe("endpoint = 2")).devices[0].pipes[0].zlp, None, "as the endpoint's type has it");
}

#[test]
fn keys_of_the_other_direction_are_refused() {
    for key in ["idle = \"off\"", "on_open = \"keep\"", "patience = 1", "buffer = 1", "framing = \"jsonl\""] {
        assert_eq!(refusals(&pipe(&format!("endpoint = 2\n{key}"))).len(), 1, "{key}");
    }
    for key in ["zlp = true", "flush = 1", "writers = \"one\"", "prebuffer = 1", "underrun = \"stop\"", "packet = 192"]
    {
        assert_eq!(refusals(&pipe(&format!("endpoint = 0x82\n{key}"))).len(), 1, "{key}");
    }
    assert_refused(&pipe("endpoint = 2\nidle = \"drain\""), "6:8", "`idle` is for IN endpoints, but 0x02 is OUT");
}

#[test]
fn impossible_values_of_a_pipe_are_refused() {
    for (keys, place, reason) in [
        ("transfer = 0", "6:12", "1 to 16777216 bytes"),
        ("transfer = \"17M\"", "6:12", "1 to 16777216 bytes"),
        ("queue = 257", "6:9", "1 to 256"),
        ("transfer = \"16M\"\nqueue = 5", "7:9", "at most 64M"),
        ("transfer = \"16M\"", "6:12", "at most 64M"),
        ("outlets = []", "6:11", "`outlets` is empty"),
        ("outlets = [\"fifo\", \"fifo\"]", "6:20", "the same outlet twice"),
        ("outlets = [\"tty\"]", "6:12", "[device.serial]"),
        ("patience = \"never\"", "6:12", "or \"forever\""),
        ("buffer = 0", "6:10", "1ms to 10s"),
        ("interface = 256", "6:13", "0 to 255"),
        ("mode = 640", "6:8", "must be octal"),
    ] {
        assert_refused(&pipe(&format!("endpoint = 0x81\n{keys}")), place, reason);
    }
    assert_refused(&pipe("endpoint = 2\nframing = \"length\"\npacket = 9"), "7:10", "for stream framing");
    assert_refused("[[device]]\nname = \"d\"\nmatch = { vid = 1 }\ntimeout = 0", "4:11", "1ms to 1 day");
}

#[test]
fn impossible_values_of_a_serial_function_are_refused() {
    for (keys, place, reason) in [
        ("baud = 0", "5:8", "must be 1 to 4294967295"),
        ("baud = \"9600\"", "5:8", "without quotes"),
        ("mode = \"8N3\"", "5:8", "as in 8N1"),
        ("profile = \"uno\"", "5:11", "arduino, wiring, esp"),
        ("outlets = []", "5:11", "`outlets` is empty"),
        ("run = []", "5:7", "names no program"),
        ("run = [\"a\\u0000\"]", "5:8", "NUL"),
        ("boot_wait = \"1d\"", "5:13", "must be seconds"),
        ("unread = \"always\"", "5:10", "or \"forever\""),
        ("unread = -1", "5:10", "must be 0 to 1 day"),
        ("unread = 1\non_open = \"discard\"", "5:10", "`on_open = \"discard\"` keeps nothing"),
        ("unread = \"forever\"\nidle = \"drain\"", "5:10", "`idle = \"drain\"` keeps nothing"),
        ("flow = \"hardware\"", "5:8", "rtscts"),
        ("flow = \"rtscts\"\nrts = true", "6:7", "flow control's"),
        ("driver = \"user\"\nflow = \"xonxoff\"", "6:8", "CDC ACM has no flow control"),
    ] {
        let text = format!("[[device]]\nname = \"d\"\nmatch = {{ vid = 1 }}\n[device.serial]\n{keys}");
        assert_refused(&text, place, reason);
    }
}

#[test]
fn flow_control_and_what_is_unread_are_understood() {
    let serial = |keys: &str| {
        let text = format!("[[device]]\nname = \"d\"\nmatch = {{ vid = 1 }}\n[device.serial]\n{keys}");
        parse(&text).devices[0].serial.clone().unwrap()
    };
    let default = serial("");
    assert_eq!((default.flow, default.keeps_unread()), (Flow::None, Some(Duration::from_secs(2))));
    assert_eq!(serial("flow = \"rtscts\"").flow, Flow::RtsCts);
    assert_eq!(serial("flow = \"xonxoff\"\nrts = true").flow, Flow::XonXoff);
    assert_eq!(serial("unread = \"forever\"").keeps_unread(), None);
    assert_eq!(serial("unread = \"1500ms\"").keeps_unread(), Some(Duration::from_millis(1500)));
    for zero in
        ["unread = \"0s\"", "unread = \"0\"", "unread = 0", "on_open = \"discard\"", "idle = \"drain\"\nunread = 0"]
    {
        assert_eq!(serial(zero).keeps_unread(), Some(Duration::ZERO), "{zero}");
    }
    let remote = "[[device]]\nname = \"d\"\nremote = \"usbip://h/1-1\"\n[device.serial]\nflow = \"rtscts\"";
    assert_refused(remote, "5:8", "CDC ACM has no flow control");
}

#[test]
fn a_change_of_settings_is_told_from_one_of_the_device() {
    let device = |general: &str, keys: &str| {
        let text = format!("[[device]]\nname = \"d\"\nmatch = {{ vid = 1 }}\n{general}\n[device.serial]\n{keys}");
        parse(&text).devices.remove(0)
    };
    let before = device("", "");
    let settings = "baud = 9600\nmode = \"7E1\"\nflow = \"xonxoff\"\ndtr = true\nrts = true\nreset = \"on-open\"\n\
                    profile = \"esp\"\nboot_wait = 1\nunread = 0\non_open = \"discard\"\nidle = \"drain\"\npatience = 2";
    assert!(device("", settings).is_but_for_settings(&before));
    for keys in
        ["driver = \"user\"", "lock = false", "outlets = [\"tty\"]", "run = [\"a\"]", "flush = 3", "group = \"g\""]
    {
        assert!(!device("", keys).is_but_for_settings(&before), "{keys}");
    }
    assert!(!device("unplug = \"eof\"", "").is_but_for_settings(&before));
}

#[test]
fn pipes_beside_the_kernels_driver_are_refused() {
    let text = |driver: &str| {
        format!(
            "[[device]]\nname = \"x\"\nmatch = {{ vid = 1 }}\n[device.serial]\n{driver}\n[[device.pipe]]\nendpoint = 1"
        )
    };
    assert_refused(&text("driver = \"kernel\""), "5:10", "pipes beside a serial line");
    assert_refused(&text(""), "4:1", "pipes beside a serial line");
    assert!(Config::parse(&text("driver = \"user\""), Path::new("t.toml")).is_ok());
}

#[test]
fn a_port_is_a_place_on_the_bus_or_a_serial_port() {
    let text = |port: &str| format!("[[device]]\nname = \"x\"\nmatch = {{ port = \"{port}\" }}");
    for (port, tty) in [("1-1.4", None), ("/dev/ttyACM0", Some("/dev/ttyACM0")), ("COM5", Some("COM5"))] {
        let config = Config::parse(&text(port), Path::new("t.toml")).unwrap();
        assert_eq!(config.devices[0].matches.tty(), tty);
    }
    assert_refused(&text("ttyACM0"), "3:18", "neither a place on the bus");
}

#[test]
fn several_mistakes_are_told_at_once_from_top_to_bottom() {
    let refusals = refusals(&pipe("endpoint = 0x81\nzlp = true\nqueue = 0\n[[device.pipe]]\nendpoint = 0x10"));
    let places: Vec<&str> = refusals.iter().filter_map(|refusal| refusal.split(' ').next()).collect();
    assert_eq!(places, ["t.toml:6:7:", "t.toml:7:9:", "t.toml:9:12:"]);
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let errors = Config::load(Path::new("/nowhere/usbpipe.toml")).unwrap_err();
    assert!(errors[0].to_string().starts_with("/nowhere/usbpipe.toml: cannot be read: "), "{errors:?}");
}

#[test]
fn a_file_that_is_not_utf_8_says_where() {
    let file = std::env::temp_dir().join(format!("usbpipe-config-{}.toml", std::process::id()));
    std::fs::write(&file, b"# ok\n\xff").unwrap();
    let errors = Config::load(&file).unwrap_err();
    std::fs::remove_file(&file).unwrap();
    assert_eq!((errors[0].line, errors[0].column), (2, 1));
}

/// Neither reading nor looking for gaps panics, and each error is one line about a place inside the text.
fn survives(text: &str) -> Result<(), TestCaseError> {
    let file = Path::new("t.toml");
    let errors = Config::parse(text, file).err().unwrap_or_default();
    for error in errors.into_iter().chain(unsupported(text, file)) {
        let line = text.split('\n').nth(error.line.wrapping_sub(1));
        let length = line.map(|line| line.chars().count());
        prop_assert!(length.is_some_and(|length| (1..=length + 1).contains(&error.column)), "{error} in {text:?}");
        prop_assert!(!error.message.is_empty() && !error.message.contains(char::is_control), "{error:?}");
    }
    Ok(())
}

/// Puts `noise` in the place of `gone` characters from the character `at` on.
fn damage(text: &str, at: usize, gone: usize, noise: &str) -> String {
    let chars = || text.chars();
    let at = at % (chars().count() + 1);
    chars().take(at).chain(noise.chars()).chain(chars().skip(at + gone)).collect()
}

fn noise() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[\\[\\]{}\"'=,.#\n0-9a-fx-]{0,4}",
        "-1|0|1e9|nan|99999999999999999999|true|\"\"|\\[\\]|\\{\\}|1979-05-27|\"\\\\u0000\"",
    ]
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_at_a_place_inside_it(text in any::<String>()) {
        survives(&text)?;
    }

    #[test]
    fn any_damage_to_a_configuration_is_refused_at_a_place_inside_it(
        everything in any::<bool>(),
        cuts in prop::collection::vec((any::<usize>(), 0usize..12, noise()), 1..4),
    ) {
        let whole = if everything { EVERYTHING } else { CONTRACT };
        let text = cuts.iter().fold(whole.to_owned(), |text, (at, gone, noise)| damage(&text, *at, *gone, noise));
        survives(&text)?;
    }

    #[test]
    fn any_value_of_any_key_is_read_or_refused_at_a_place_inside(line in any::<usize>(), value in noise()) {
        let lines: Vec<&str> = EVERYTHING.lines().collect();
        let line = line % lines.len();
        let changed = lines.iter().enumerate().map(|(n, text)| match text.split_once(" = ") {
            Some((key, _)) if n == line => format!("{key} = {value}\n"),
            _ => format!("{text}\n"),
        });
        survives(&changed.collect::<String>())?;
    }
}
