//! What is wrong with a configuration descriptor, in words: what a device says and what is made of it. It mends nothing and
//! changes nothing about what is bridged; whoever misses an endpoint finds here where it went.

use std::collections::BTreeMap;

/// What a person should know about a configuration descriptor as it came from the device. One line each, without a full
/// stop.
pub(super) fn of(configuration: &[u8]) -> Vec<String> {
    let Some(&[_, CONFIGURATION, low, high, interfaces, ..]) = configuration.first_chunk::<9>().map(|h| &h[..]) else {
        return Vec::new();
    };
    let total = usize::from(u16::from_le_bytes([low, high]));
    let mut remarks = Remarks::default();
    if total > configuration.len() {
        remarks.add(format!(
            "the descriptors end after {} of {total} bytes; what should follow is not known, so an endpoint may be missing \
             until the firmware is mended",
            configuration.len()
        ));
    }
    remarks.walk(&configuration[..total.clamp(9, configuration.len())]);
    remarks.finish(usize::from(interfaces));
    remarks.texts
}

#[derive(Default)]
struct Remarks {
    texts: Vec<String>,
    /// By interface and alternate setting, in the order of the numbers.
    settings: BTreeMap<(u8, u8), Setting>,
    current: Option<(u8, u8)>,
}

#[derive(Default)]
struct Setting {
    announced: usize,
    endpoints: Vec<u8>,
    is_again: bool,
}

impl Remarks {
    fn add(&mut self, text: String) {
        if self.texts.len() < MOST && !self.texts.contains(&text) {
            self.texts.push(text);
        }
    }

    fn walk(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let length = usize::from(rest[0]);
            if length < 2 || length > rest.len() {
                return self.add(format!(
                    "the descriptor at byte {at} claims {length} bytes, of {} that are left; it and what should \
                     follow are passed over until the firmware is mended",
                    rest.len()
                ));
            }
            match (rest[1], &rest[..length]) {
                (INTERFACE, &[_, _, interface, setting, endpoints, _, _, _, _, ..]) => {
                    self.interface((interface, setting), endpoints.into());
                }
                (ENDPOINT, &[_, _, address, _, _, _, _, ..]) => self.endpoint(address),
                (kind @ (INTERFACE | ENDPOINT), short) => {
                    let kind = if kind == INTERFACE { "an interface" } else { "an endpoint" };
                    self.add(format!(
                        "{kind} descriptor at byte {at} has only {} bytes and is passed over until the firmware is mended",
                        short.len()
                    ));
                }
                _ => {}
            }
            at += length;
        }
    }

    fn interface(&mut self, place: (u8, u8), announced: usize) {
        self.current = Some(place);
        let is_again = self.settings.contains_key(&place);
        let setting = self.settings.entry(place).or_default();
        setting.announced += announced;
        setting.is_again = is_again;
        if is_again {
            let (interface, alt) = place;
            self.add(format!(
                "interface {interface}, alternate setting {alt}, is described twice; of an endpoint that is in both the \
                 first counts"
            ));
        }
    }

    fn endpoint(&mut self, address: u8) {
        let Some(place @ (interface, alt)) = self.current else {
            let text = format!("endpoint {address:#04x} is described before any interface and is passed over");
            return self.add(text);
        };
        if address & 0x70 != 0 || address & 0x0f == 0 {
            let text =
                format!("interface {interface} has an endpoint {address:#04x}, which cannot be; it is passed over");
            return self.add(text);
        }
        let Some(setting) = self.settings.get_mut(&place) else { return };
        let is_twice = setting.endpoints.contains(&address);
        setting.endpoints.push(address);
        if is_twice {
            self.add(format!(
                "endpoint {address:#04x} is described twice in interface {interface}, alternate setting {alt}; the first \
                 description counts"
            ));
        }
    }

    fn finish(&mut self, announced: usize) {
        let mut texts = Vec::new();
        let mut numbers: Vec<u8> = self.settings.keys().map(|(interface, _)| *interface).collect();
        numbers.dedup();
        if numbers.len() != announced {
            texts.push(format!("the configuration announces {announced} interfaces and describes {}", numbers.len()));
        }
        for (&(interface, alt), setting) in &self.settings {
            let (announced, described) = (setting.announced, setting.endpoints.len());
            if announced != described {
                texts.push(format!(
                    "interface {interface}, alternate setting {alt}, announces {announced} endpoints and describes \
                     {described}; those that are described are used"
                ));
            }
        }
        let mut owners: BTreeMap<u8, u8> = BTreeMap::new();
        for (&(interface, _), setting) in &self.settings {
            for &address in &setting.endpoints {
                let owner = *owners.entry(address).or_insert(interface);
                if owner != interface {
                    texts.push(format!(
                        "endpoint {address:#04x} belongs to interfaces {owner} and {interface}; that of interface {owner} \
                         is used unless `interface = {interface}` in its [[device.pipe]] says otherwise"
                    ));
                }
            }
        }
        texts.into_iter().for_each(|text| self.add(text));
    }
}

/// Descriptor types: USB 2.0, table 9-5.
const CONFIGURATION: u8 = 2;
const INTERFACE: u8 = 4;
const ENDPOINT: u8 = 5;
/// More would say nothing new.
const MOST: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn configuration(parts: &[&[u8]]) -> Vec<u8> {
        let mut raw = [&[9, 2, 0, 0, 1, 1, 0, 0x80, 50][..], &parts.concat()].concat();
        raw[2] = raw.len() as u8;
        raw
    }

    fn interface(number: u8, setting: u8, endpoints: u8) -> [u8; 9] {
        [9, 4, number, setting, endpoints, 0xff, 0, 0, 0]
    }

    fn endpoint(address: u8) -> [u8; 7] {
        [7, 5, address, 2, 0, 2, 0]
    }

    #[test]
    fn nothing_is_said_of_descriptors_as_they_should_be() {
        let class = [5, 0x24, 0, 0x10, 0x01];
        let parts: [&[u8]; 6] =
            [&interface(0, 0, 0), &interface(0, 1, 2), &class, &endpoint(0x81), &endpoint(0x02), &interface(0, 2, 1)];
        let raw = configuration(&[&parts.concat(), &endpoint(0x81)]);
        assert_eq!(of(&raw), [""; 0]);
        assert_eq!(of(&[]), [""; 0]);
    }

    #[test]
    fn each_fault_is_named() {
        let whole = configuration(&[&interface(0, 0, 2), &endpoint(0x81), &endpoint(0x02)]);
        let cut = of(&whole[..25]);
        assert!(
            cut[0].starts_with("the descriptors end after 25 of 32 bytes") && cut[1].contains("announces 2"),
            "{cut:?}"
        );
        let cases: [(Vec<u8>, &str); 8] = [
            (whole[..30].to_vec(), "the descriptor at byte 25 claims 7 bytes, of 5 that are left"),
            (configuration(&[&interface(0, 0, 0), &[0, 5, 1]]), "byte 18 claims 0 bytes"),
            (
                configuration(&[&interface(0, 0, 1), &[5, 5, 0x81, 2, 64]]),
                "an endpoint descriptor at byte 18 has only 5",
            ),
            (
                configuration(&[&interface(0, 0, 2), &endpoint(0x81), &endpoint(0x81)]),
                "endpoint 0x81 is described twice",
            ),
            (
                configuration(&[&interface(0, 0, 1), &endpoint(0x81), &interface(0, 0, 0)]),
                "setting 0, is described twice",
            ),
            (configuration(&[&interface(0, 0, 1), &endpoint(0x91)]), "an endpoint 0x91, which cannot be"),
            (configuration(&[&endpoint(0x81), &interface(0, 0, 0)]), "endpoint 0x81 is described before any interface"),
            (
                configuration(&[&interface(0, 0, 1), &endpoint(0x81), &interface(1, 0, 1), &endpoint(0x81)]),
                "endpoint 0x81 belongs to interfaces 0 and 1",
            ),
        ];
        for (raw, text) in cases {
            let remarks = of(&raw);
            assert!(remarks.iter().any(|remark| remark.contains(text)), "{text:?} is not in {remarks:?}");
        }
        let one_too_few = of(&configuration(&[&interface(0, 0, 0), &interface(3, 0, 0)]));
        assert_eq!(one_too_few, ["the configuration announces 1 interfaces and describes 2"]);
    }

    proptest! {
        #[test]
        fn no_bytes_of_a_device_make_it_panic_or_say_much(raw in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut raw = raw;
            if let Some(head) = raw.first_chunk_mut::<2>() {
                *head = [9, 2];
            }
            prop_assert!(of(&raw).len() <= MOST);
        }
    }
}
