//! What the reference says: a row for each key. A new key of `typed.rs` gets its row here.

use super::{Default, Endpoints, Key, Systems, Table, Text, Values};

/// The tables of the file, from the outside inwards.
pub(super) const TABLES: &[Table] = &[ROOT, DEVICE, MATCH, SERIAL, PIPE];

const ROOT: Table = Table {
    name: "usbpipe.toml",
    about: "The file is a list of devices.",
    example: "\
[[device]]
name = \"arduino\"
match = { vid = 0x2341, pid = 0x0043 }
[device.serial]
baud = 115200
",
    keys: &[Key::new(
        "device",
        Values::Table("[[device]]"),
        Default::Words("no device; `usbpipe run` refuses a file without one"),
        "[]",
        "A device, written as `[[device]]`. No two may have one name.",
    )],
};

const DEVICE: Table = Table {
    name: "[[device]]",
    about: "A device, and its outlets in `<run dir>/<name>/`. It needs `match` or `remote`. With neither `[device.serial]` nor \
            `[[device.pipe]]` all its endpoints are bridged, and its serial line if it has one.",
    example: "\
[[device]]
name = \"probe\"
match = { vid = 0x1209, pid = 0x0001 }
detach = true
group = \"plugdev\"
",
    keys: &[
        Key::new(
            "name",
            Values::Other {
                words: "text of 1 to 64 bytes without control characters",
                accepted: &["\"a\"", "\"my probe\""],
                refused: &["\"\"", "\"a\\nb\"", "7"],
            },
            Default::Words("`vvvv-pppp` from a `match` with one `vid` and one `pid`, and `-SERIAL` with a `serial`"),
            "\"probe\"",
            "Name of the device in commands and on disk. Characters other than letters, digits, `.`, `_` and `-` become `_`.",
        ),
        Key::new(
            "match",
            Values::Table("[device.match]"),
            Default::Words("none; required without `remote`"),
            "{ vid = 0x2341, pid = 0x0043 }",
            "Which device is meant, usually written as one line: `match = { vid = 0x2341, pid = 0x0043 }`.",
        ),
        Key::new(
            "remote",
            Values::Other {
                words: "`\"usbip://host[:port][/busid]\"`; without a bus id `match` says which device of the server is meant",
                accepted: &["\"usbip://pi\"", "\"usbip://[::1]:99/1-1\""],
                refused: &["\"pi\"", "\"usbip://pi:0/1-1\""],
            },
            Default::Words("none: the device is one of this machine"),
            "\"usbip://lab-pi/1-1.4\"",
            "USB/IP server that exports the device.",
        ),
        Key::new(
            "backend",
            Values::Choice(&["auto", "nusb", "libusb", "serial", "usbip"]),
            Default::Value(Text::Same("\"auto\"")),
            "\"libusb\"",
            "How the device is reached. `auto` takes the system's serial port for a serial line, libusb for interfaces with \
             isochronous endpoints, nusb for everything else, and USB/IP where there is a `remote`. `usbip` needs `remote`, and \
             `remote` takes no other backend.",
        ),
        Key::new(
            "detach",
            Values::Switch,
            Default::Value(Text::Same("false")),
            "true",
            "Whether interfaces are taken from kernel drivers. The drivers get them back when the daemon ends; after a crash, when \
             the next one starts. On Windows it has no effect: a device needs WinUSB as its driver.",
        ),
        Key::new(
            "unplug",
            Values::Choice(&["hold", "eof"]),
            Default::Value(Text::Same("\"hold\"")),
            "\"eof\"",
            "What programs see at an unplug. `hold`: they wait and go on when the device is back. `eof`: readers get end of \
             file, writers EPIPE. At `serial.tty` a read that waits fails with EIO, unless the daemon has CAP_SYS_ADMIN.",
        ),
        Key::new(
            "timeout",
            Values::Range { unit: "time", least: "\"1ms\"", most: "\"24h\"", refused: &["0", "\"25h\"", "\"5\""] },
            Default::Value(Text::Same("\"5s\"")),
            "\"500ms\"",
            "Longest time that a control transfer may take.",
        ),
        Key::new(
            "serial",
            Values::Table("[device.serial]"),
            Default::Words(
                "none: with `[[device.pipe]]` no serial line is bridged; without, the one that the device has, with the defaults",
            ),
            "{ baud = 9600 }",
            "The serial line of the device, written as `[device.serial]`.",
        ),
        Key::new(
            "serial-2",
            Values::Table("[device.serial]"),
            Default::Words("none, as for `serial`"),
            "{ baud = 9600 }",
            "The second serial line of the device, with outlets such as `serial-2.rx`, written as `[device.serial-2]` with the \
             keys of `[device.serial]`. A line without `interface` gets the next function that no other line has.",
        ),
        Key::new(
            "serial-3",
            Values::Table("[device.serial]"),
            Default::Words("none, as for `serial`"),
            "{ baud = 9600 }",
            "The third serial line of the device, with outlets such as `serial-3.rx`, written as `[device.serial-3]` with the \
             keys of `[device.serial]`. A line without `interface` gets the next function that no other line has.",
        ),
        Key::new(
            "serial-4",
            Values::Table("[device.serial]"),
            Default::Words("none, as for `serial`"),
            "{ baud = 9600 }",
            "The fourth serial line of the device, with outlets such as `serial-4.rx`, written as `[device.serial-4]` with the \
             keys of `[device.serial]`. A line without `interface` gets the next function that no other line has.",
        ),
        Key::new(
            "pipe",
            Values::Table("[[device.pipe]]"),
            Default::Words(
                "none: with `[device.serial]` no endpoint is bridged; without, all that the device has, with the defaults",
            ),
            "[{ endpoint = 0x81 }]",
            "An endpoint of the device, written as `[[device.pipe]]`. No two may have one address. Beside `[device.serial]` it \
             needs `driver = \"user\"` there, or `remote`.",
        ),
        OWNER,
        GROUP,
        MODE,
        SDDL,
    ],
};

const MATCH: Table = Table {
    name: "[device.match]",
    about: "What a device must have; all keys that are given must fit. An empty table is refused, because it would take any \
            device. On the command line the selectors `2341:0043`, `2341:0043:SERIAL`, `serial:SERIAL`, `product:NAME` and \
            `1-1.4` say the same.",
    example: "\
[[device]]
name = \"uno\"
match = { vid = 0x2341, pid = [0x0043, 0x0001], serial = \"75330303035351E0F1B1\" }
",
    keys: &[
        Key::new(
            "vid",
            Values::Range { unit: "number", least: "0x0000", most: "0xffff", refused: &["-1", "0x10000", "\"2341\""] },
            Default::Words("any"),
            "0x2341",
            "idVendor.",
        ),
        Key::new(
            "pid",
            Values::Other {
                words: "number, `0x0000` to `0xffff`, or a list of such numbers, of which any fits",
                accepted: &["0", "0xffff", "[1, 2]"],
                refused: &["0x10000", "[]", "\"0043\""],
            },
            Default::Words("any"),
            "[0x8036, 0x0036]",
            "idProduct; needs `vid`. A list is for a device that changes its ids, such as a board and its bootloader.",
        ),
        Key::new(
            "serial",
            Values::Other {
                words: "text without control characters",
                accepted: &["\"A B\""],
                refused: &["\"\"", "\"a\\nb\"", "75"],
            },
            Default::Words("any"),
            "\"75330303035351E0F1B1\"",
            "The serial number string, exactly as the device spells it.",
        ),
        Key::new(
            "product",
            Values::Other {
                words: "text without control characters",
                accepted: &["\"A B\""],
                refused: &["\"\"", "\"a\\nb\"", "75"],
            },
            Default::Words("any"),
            "\"USB Serial\"",
            "The product string, exactly as the device spells it.",
        ),
        Key::new(
            "port",
            Values::Other {
                words: "a place on the bus, as `\"1-1.4\"`, or a serial port, as `\"/dev/ttyS0\"` or `\"COM5\"`",
                accepted: &["\"1-1.4\"", "\"/dev/serial/by-id/x\"", "\"COM5\""],
                refused: &["\"1.4\"", "\"ttyACM0\""],
            },
            Default::Words("any"),
            "\"1-1.4\"",
            "Where the device is plugged in, as `usbpipe list` shows it.",
        ),
    ],
};

const SERIAL: Table = Table {
    name: "[device.serial]",
    about: "The serial line of a device: a serial port of the system, or a CDC ACM function. An empty table bridges it with the \
            defaults.",
    example: "\
[[device]]
name = \"arduino\"
match = { vid = 0x2341, pid = 0x0043 }
[device.serial]
baud = 115200
reset = \"on-open\"
",
    keys: &[
        Key::new(
            "baud",
            Values::Range {
                unit: "bits a second",
                least: "1",
                most: "4294967295",
                refused: &["0", "4294967296", "\"9600\""],
            },
            Default::Words("the speed that the device has; `serial.tty` shows 9600"),
            "115200",
            "Speed of the line. A program that changes the speed of `serial.tty` overrides it until it closes.",
        ),
        Key::new(
            "mode",
            Values::Other {
                words: "data bits 5 to 8, parity `N`, `O`, `E`, `M` or `S`, and 1, 1.5 or 2 stop bits",
                accepted: &["\"8N1\"", "\"5S1.5\"", "\"7e2\""],
                refused: &["\"8N3\"", "\"9N1\"", "8"],
            },
            Default::Words("the format that the device has"),
            "\"7E1\"",
            "Format of a character.",
        ),
        Key::new(
            "flow",
            Values::Choice(&["none", "rtscts", "xonxoff"]),
            Default::Value(Text::Same("\"none\"")),
            "\"rtscts\"",
            "Flow control of the line, in both directions. Only a port of the system has it: CDC ACM has none, so that it is \
             refused with `driver = \"user\"`. With `rtscts`, `rts` is refused.",
        ),
        Key::new(
            "driver",
            Values::Choice(&["kernel", "user"]),
            Default::Value(Text::Same("\"kernel\"")),
            "\"user\"",
            "`kernel` uses the system's serial port, such as `/dev/ttyACM0`. `user` drives a CDC ACM function over USB, so that \
             opening is silent: no change of DTR. With `remote` the default is `user`, and `kernel` is refused.",
        ),
        Key::new(
            "dtr",
            Values::Switch,
            Default::Words("as the driver sets it: the kernel turns it on when the port is opened, `driver = \"user\"` does not"),
            "false",
            "State of Data Terminal Ready after the device is attached.",
        ),
        Key::new(
            "rts",
            Values::Switch,
            Default::Words("as the driver sets it: the kernel turns it on when the port is opened, `driver = \"user\"` does not"),
            "false",
            "State of Request To Send after the device is attached. Not with `flow = \"rtscts\"`.",
        ),
        Key::new(
            "reset",
            Values::Choice(&["on-open", "never", "if-idle"]),
            Default::Value(Text::Same("\"never\"")),
            "\"on-open\"",
            "When the board is reset. `on-open`: when a program opens an outlet of the line and none was open. `if-idle`: the \
             same, unless an outlet was open or the board sent something in the last 10 s. A program that opens \
             `serial.tty` beside others does not reset the board, so uploads there need `usbpipe release` or `lock = false`.",
        ),
        Key::new(
            "profile",
            Values::Choice(&["arduino", "wiring", "esp"]),
            Default::Value(Text::Same("\"arduino\"")),
            "\"esp\"",
            "How the board is reset by DTR and RTS.",
        ),
        Key::new(
            "boot_wait",
            Values::Range { unit: "time", least: "0", most: "\"24h\"", refused: &["-1", "\"25h\""] },
            Default::Value(Text::Same("0")),
            "\"2s\"",
            "How long bytes to the board are held back after an attach or a reset.",
        ),
        Key::new(
            "lock",
            Values::Switch,
            Default::Value(Text::Same("true")),
            "false",
            "Whether other programs are kept from opening the system's port. With `false`, the daemon lets go of the port while \
             another program has it open.",
        ),
        Key::new(
            "outlets",
            Values::Choices(&["fifo", "socket", "tty", "pipe"]),
            Default::Value(Text::Each { linux: "[\"fifo\", \"tty\"]", windows: "[\"pipe\"]" }),
            "",
            "What programs open: `fifo` is `serial.rx` and `serial.tx`, `tty` is `serial.tty`, `socket` is `serial.sock`. \
             Windows has `pipe` alone, the named pipe `serial`, and Linux all others. Empty only with `run`.",
        )
        .with_example(Text::Each { linux: "[\"fifo\", \"socket\"]", windows: "[\"pipe\"]" }),
        Key::new(
            "run",
            Values::Other {
                words: "a list of a program and its arguments",
                accepted: &["[\"./logger\"]", "[\"python3\", \"-u\", \"talk.py\"]"],
                refused: &["[]", "[\"\"]", "\"./logger\""],
            },
            Default::Words("no program"),
            "[\"./logger\", \"--stdin\"]",
            "Program to start at each attach, with the line as its stdin and stdout. It runs in the folder of the configuration \
             and is ended at detach. `config check` refuses one that is not found; the daemon starts without it.",
        ),
        Key::new(
            "on_open",
            Values::Choice(&["keep", "discard"]),
            Default::Value(Text::Same("\"keep\"")),
            "\"discard\"",
            "`discard` is `unread = 0`: the next reader gets nothing that is old.",
        ),
        Key::new(
            "idle",
            Values::Choice(&["off", "drain"]),
            Default::Value(Text::Same("\"off\"")),
            "\"drain\"",
            "`drain` is `unread = 0`. A serial line is read also while no program reads it.",
        ),
        Key::new(
            "flush",
            Values::Range { unit: "time", least: "0", most: "\"24h\"", refused: &["-1", "\"25h\""] },
            Default::Value(Text::Same("\"1s\"")),
            "\"5s\"",
            "How long the daemon waits at its end for written bytes to reach the device.",
        ),
        Key::new(
            "unread",
            PATIENCE,
            Default::Value(Text::Same("\"2s\"")),
            "\"forever\"",
            "How long bytes that arrive while no program reads are kept for the next one, at most 64 KiB. What is older is dropped \
             and counted as discarded; with `\"forever\"` nothing is, and the device has to wait.",
        ),
        Key::new("patience", PATIENCE, Default::Value(Text::Same("\"1s\"")), "\"forever\"", PATIENCE_ABOUT),
        Key::new(
            "interface",
            Values::Range { unit: "number", least: "0", most: "255", refused: &["-1", "256"] },
            Default::Words("the first serial function"),
            "2",
            "bInterfaceNumber of the control interface of the CDC ACM function, where a device has several.",
        ),
        Key::new(
            "rfc2217",
            LISTENS,
            Default::Words("none: the line is not reached by RFC 2217"),
            "\"127.0.0.1:4000\"",
            "Address at which RFC 2217 clients reach the line, with its speed, format, flow control, break and modem lines: \
             `rfc2217://HOST:4000` in pyserial and esptool. Port 0 takes a free one, which `usbpipe status` shows.",
        ),
        Key::new(
            "tcp",
            LISTENS,
            Default::Words("none: the line is not reached by TCP"),
            "\"127.0.0.1:4001\"",
            "Address at which TCP clients reach the bytes of the line. Port 0 takes a free one, which `usbpipe status` shows.",
        ),
        Key::new(
            "allow",
            Values::Other {
                words: "a list of networks and addresses",
                accepted: &["[\"192.168.7.0/24\"]", "[\"fd00::7\", \"10.0.0.1\"]"],
                refused: &["\"192.168.7.0/24\"", "[\"lab\"]", "[\"10.0.0.0/33\"]"],
            },
            Default::Words("clients of this machine only"),
            "[\"192.168.7.0/24\"]",
            "Whose clients `rfc2217` and `tcp` accept beside those of this machine. It is required for an address that is not \
             loopback. There is no password and no encryption: use `ssh -L` across networks that others can read.",
        ),
        Key::new(
            "modem_lines",
            Values::Choice(&["resets", "pass", "ignore"]),
            Default::Value(Text::Same("\"resets\"")),
            "\"pass\"",
            "What DTR and RTS of RFC 2217 clients do. `resets`: known reset sequences are run beside the board with exact \
             timing, and opening a connection resets nothing. `pass`: each change reaches the board. `ignore`: none does.",
        ),
        OWNER,
        GROUP,
        SDDL,
    ],
};

const PIPE: Table = Table {
    name: "[[device.pipe]]",
    about: "An endpoint that is bridged, and how. Keys of the other direction are refused.",
    example: "\
[[device]]
name = \"probe\"
match = { vid = 0x1209, pid = 0x0001 }
[[device.pipe]]
endpoint = 0x81
framing = \"jsonl\"
[[device.pipe]]
endpoint = 0x02
writers = \"one\"
",
    keys: &[
        Key::new(
            "endpoint",
            Values::Other {
                words: "`0x81` to `0x8f` for IN, `0x01` to `0x0f` for OUT",
                accepted: &["0x81", "0x8f", "0x01", "0x0f"],
                refused: &["0x00", "0x80", "0x10", "0x90", "\"ep_81\""],
            },
            Default::Required,
            "0x81",
            "Endpoint address, as `lsusb` and `usbpipe list` show it.",
        ),
        Key::new(
            "interface",
            Values::Range { unit: "number", least: "0", most: "255", refused: &["-1", "256"] },
            Default::Words("the first interface that has the endpoint"),
            "1",
            "bInterfaceNumber of the interface that has the endpoint.",
        ),
        Key::new(
            "alt",
            Values::Range { unit: "number", least: "0", most: "255", refused: &["-1", "256"] },
            Default::Words("the setting that is selected by default, else the first that has the endpoint"),
            "1",
            "bAlternateSetting to select. Pipes of one interface must agree on it.",
        ),
        Key::new(
            "outlets",
            Values::Choices(&["fifo", "socket", "tty", "pipe"]),
            Default::Value(Text::Each { linux: "[\"fifo\"]", windows: "[\"pipe\"]" }),
            "",
            "What programs open: `fifo` is `ep_81`, `socket` is `ep_81.sock`, where each program has a copy of its own. `tty` is \
             for serial lines alone. Windows has `pipe` alone, a named pipe, and Linux all others.",
        )
        .with_example(Text::Each { linux: "[\"fifo\", \"socket\"]", windows: "[\"pipe\"]" }),
        Key::new(
            "framing",
            Values::Choice(&["stream", "packet", "length", "hex", "jsonl"]),
            Default::Value(Text::Same("\"stream\"")),
            "\"hex\"",
            "How transfers look to programs. `stream`: just bytes. `packet`: one read or write is one transfer. `length`: a u32, \
             little-endian, then as many bytes. `hex`: a line of hex. `jsonl`: a JSON object a line, for IN alone.",
        ),
        Key::new(
            "transfer",
            Values::Range { unit: "bytes", least: "1", most: "\"16M\"", refused: &["0", "\"17M\"", "\"64X\""] },
            Default::Words("65536; for an interrupt IN endpoint what one interval moves, mostly one packet"),
            "\"4K\"",
            "Bytes of a transfer, rounded up to whole packets for IN. A report of several packets is one transfer with its length \
             here. `transfer` times `queue` may be at most 64 MiB. With `framing = \"packet\"` the default and the limit are \
             4096 for a FIFO, and the limit is 128 KiB for other outlets.",
        ),
        Key::new(
            "queue",
            Values::Range { unit: "transfers", least: "1", most: "256", refused: &["0", "257"] },
            Default::Words(
                "8; for an isochronous endpoint as many as last 512 ms (IN) or 256 ms (OUT), at most 64",
            ),
            "16",
            "Transfers in flight.",
        ),
        Key::new(
            "idle",
            Values::Choice(&["off", "drain"]),
            Default::Value(Text::Same("\"off\"")),
            "\"drain\"",
            "What happens while no program reads. `off`: nothing is read from the device. `drain`: bytes are read and discarded, \
             for devices that fail otherwise.",
        )
        .of(Endpoints::In),
        Key::new(
            "on_open",
            Values::Choice(&["keep", "discard"]),
            Default::Value(Text::Same("\"keep\"")),
            "\"discard\"",
            "Whether the next reader gets bytes that the last one left.",
        )
        .of(Endpoints::In),
        Key::new("patience", PATIENCE, Default::Value(Text::Same("\"1s\"")), "\"forever\"", PATIENCE_ABOUT)
            .of(Endpoints::In),
        Key::new(
            "buffer",
            Values::Range { unit: "time", least: "\"1ms\"", most: "\"10s\"", refused: &["0", "11"] },
            Default::Value(Text::Same("\"250ms\"")),
            "\"1s\"",
            "How much waits for a slow reader before the oldest packets are dropped.",
        )
        .of(Endpoints::IsochronousIn),
        Key::new(
            "stall",
            Values::Choice(&["clear", "stop"]),
            Default::Value(Text::Same("\"clear\"")),
            "\"stop\"",
            "What follows when the device halts the endpoint. `clear`: the halt is cleared and counted, and the pipe goes on. \
             `stop`: open outlets end as at an unplug with `eof`, until they are opened again.",
        ),
        Key::new(
            "writers",
            Values::Choice(&["many", "one"]),
            Default::Value(Text::Same("\"many\"")),
            "\"one\"",
            "How many programs may write at once. `many`: they share the pipe message by message. `one`: a second one is refused.",
        )
        .of(Endpoints::Out),
        Key::new(
            "zlp",
            Values::Switch,
            Default::Words("`true` for bulk endpoints, `false` for interrupt endpoints"),
            "false",
            "Whether a message that fills its last packet is ended by a zero-length packet. `true` is for framings other than \
             `stream`.",
        )
        .of(Endpoints::Out),
        Key::new(
            "flush",
            Values::Range { unit: "time", least: "0", most: "\"24h\"", refused: &["-1", "\"25h\""] },
            Default::Value(Text::Same("\"1s\"")),
            "\"5s\"",
            "How long the daemon waits at its end for written bytes to reach the device.",
        )
        .of(Endpoints::Out),
        Key::new(
            "prebuffer",
            Values::Range { unit: "time", least: "0", most: "\"10s\"", refused: &["-1", "11"] },
            Default::Value(Text::Same("\"40ms\"")),
            "\"100ms\"",
            "How much is collected before a stream starts.",
        )
        .of(Endpoints::IsochronousOut),
        Key::new(
            "underrun",
            Values::Choice(&["silence", "stop"]),
            Default::Value(Text::Same("\"silence\"")),
            "\"stop\"",
            "What is sent when a writer is late. `silence`: zeros. `stop`: nothing, until `prebuffer` is full again.",
        )
        .of(Endpoints::IsochronousOut),
        Key::new(
            "packet",
            Values::Range { unit: "bytes", least: "1", most: "49152", refused: &["0", "49153"] },
            Default::Words("wMaxPacketSize, times the packets of an interval"),
            "192",
            "Bytes of a packet, in `stream` framing.",
        )
        .of(Endpoints::IsochronousOut),
        OWNER,
        GROUP,
        MODE,
        SDDL,
    ],
};

const LISTENS: Values = Values::Other {
    words: "an IP address of this machine with a port",
    accepted: &["\"127.0.0.1:0\"", "\"[::1]:4000\""],
    refused: &["\"127.0.0.1\"", "\"localhost:4000\"", "\"0.0.0.0:4000\"", "4000"],
};

const PATIENCE: Values = Values::Other {
    words: "time, `0` to `\"24h\"`, or `\"forever\"`",
    accepted: &["0", "\"24h\"", "\"forever\""],
    refused: &["-1", "\"25h\"", "\"never\""],
};
const PATIENCE_ABOUT: &str = "How long a slow reader may hold up other readers. After that it loses its oldest data, which is \
                              counted. A reader that is alone is always waited for.";

const OWNER: Key = Key::new(
    "owner",
    Values::Other {
        words: "name or number of a user",
        accepted: &["\"root\"", "\"1000\""],
        refused: &["\"\"", "1000"],
    },
    Default::Words("that of the device; of a device the user that runs the daemon"),
    "\"root\"",
    "User that owns the outlets. The device's directory stays the daemon's; without a `group`, that user's group may enter it.",
)
.on(Systems::Linux);

const GROUP: Key = Key::new(
    "group",
    Values::Other {
        words: "name or number of a group",
        accepted: &["\"dialout\"", "\"20\""],
        refused: &["\"\"", "20"],
    },
    Default::Words("that of the device; of a device the group that runs the daemon"),
    "\"dialout\"",
    "Group whose members may open the outlets. Only the device's group may enter its directory, so \
     that members of a pipe's own group need both.",
)
.on(Systems::Linux);

const MODE: Key = Key::new(
    "mode",
    Values::Other {
        words: "octal, `0o000` to `0o777`, or the same as text: `\"0640\"`",
        accepted: &["0o000", "0o777", "\"0640\""],
        refused: &["640", "\"0800\"", "0o1777"],
    },
    Default::Words("that of the device; of a device 0640 for IN FIFOs, 0620 for OUT FIFOs, 0660 for sockets"),
    "0o600",
    "Permission bits of the outlets. Of a serial line, whose own `mode` is its format, those of the device hold. Requests of \
     other users on `admin.sock` are granted to those who could open the outlets.",
)
.on(Systems::Linux);

const SDDL: Key = Key::new(
    "sddl",
    Values::Other {
        words: "a security descriptor as text",
        accepted: &["\"D:(A;;GA;;;BU)\""],
        refused: &["\"\"", "7"],
    },
    Default::Words("that of the device; of a device this user, administrators and the system"),
    "\"D:(A;;GA;;;BU)\"",
    "Who may open the named pipes.",
)
.on(Systems::Windows);
