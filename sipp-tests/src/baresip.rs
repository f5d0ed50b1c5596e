//! Two real phones: baresip 1.0 (Debian), driven over its control port.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::Binary;
use crate::building::{Addresses, Building, DOMAIN};
use crate::relay::Relay;
use crate::scenario::Family;
use crate::secure::Doors;
use crate::tone::Recording;
use crate::wait;

/// One baresip without a sound card: it sends a tone and records what it hears.
#[derive(Debug)]
pub struct Phone {
    name: &'static str,
    dir: PathBuf,
    child: Child,
    control: TcpStream,
    messages: Receiver<Value>,
    /// Events that came while something else was waited for; a call makes a few dozen.
    seen: Vec<Value>,
}

/// What a phone is.
pub struct Setting<'a> {
    pub name: &'static str,
    pub sip: SocketAddr,
    pub control: u16,
    pub tone: u32,
    pub codec: &'a str,
    pub password: &'a str,
    pub way: Way,
    pub answers: bool,
}

impl<'a> Setting<'a> {
    /// The door, which calls.
    pub fn door(addresses: Addresses, way: Way, password: &'a str) -> Self {
        Self {
            name: "lobby",
            sip: addresses.actor(2),
            control: 14_472,
            tone: 440,
            codec: "PCMA/8000/1",
            password,
            way,
            answers: false,
        }
    }
}

/// How a phone reaches the server.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub transport: &'static str,
    pub server: SocketAddr,
}

impl Way {
    /// By UDP.
    pub fn udp(addresses: Addresses) -> Self {
        Self {
            transport: "udp",
            server: addresses.server(),
        }
    }
}

/// Longest wait for anything a phone should do.
const SOON: Duration = Duration::from_secs(10);

impl Phone {
    pub fn start(dir: &Path, setting: &Setting<'_>) -> Result<Self> {
        let authority = dir.join("ca.pem");
        let dir = dir.join(format!("baresip-{}", setting.name));
        std::fs::create_dir_all(&dir)?;
        std::fs::write(dir.join("config"), config(&dir, &authority, setting))?;
        let auto = if setting.answers {
            ";answermode=auto"
        } else {
            ""
        };
        let account = format!(
            "<sip:{}@{DOMAIN};transport={}>;auth_user={};auth_pass={};outbound=\"sip:{};transport={}\";regint=60;audio_codecs={}{auto}\n",
            setting.name,
            setting.way.transport,
            setting.name,
            setting.password,
            setting.way.server,
            setting.way.transport,
            setting.codec
        );
        std::fs::write(dir.join("accounts"), account)?;
        std::fs::write(dir.join("contacts"), "")?;
        let log = std::fs::File::create(dir.join("log.txt"))?;
        let child = Command::new("baresip")
            .args(["-f", &dir.to_string_lossy(), "-s"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting baresip (Debian package baresip-core)")?;
        let address = SocketAddr::from(([127, 0, 0, 1], setting.control));
        let mut control = None;
        wait::until("baresip's control port", SOON, || {
            control = TcpStream::connect(address).ok();
            control.is_some()
        })?;
        let control = control.context("no control port")?;
        let messages = listen(control.try_clone()?);
        Ok(Self {
            name: setting.name,
            dir,
            child,
            control,
            messages,
            seen: Vec::new(),
        })
    }

    /// Runs a command and gives its answer.
    pub fn command(&mut self, command: &str, params: &str) -> Result<String> {
        let text = json!({ "command": command, "params": params, "token": "t" }).to_string();
        self.control
            .write_all(format!("{}:{text},", text.len()).as_bytes())?;
        let answer = self.next(|message| message.get("event").is_none())?;
        Ok(answer
            .get("data")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned())
    }

    /// Waits for the event of this type.
    pub fn event(&mut self, kind: &str) -> Result<Value> {
        let is = |message: &Value| message.get("type").and_then(Value::as_str) == Some(kind);
        if let Some(at) = self.seen.iter().position(is) {
            return Ok(self.seen.remove(at));
        }
        self.next(is)
            .with_context(|| format!("{} waited for {kind}", self.name))
    }

    fn next(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + SOON;
        loop {
            match self
                .messages
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(message) if wanted(&message) => return Ok(message),
                Ok(message) => self.seen.push(message),
                Err(RecvTimeoutError::Timeout) => bail!(
                    "{} said nothing of it within {} s",
                    self.name,
                    SOON.as_secs()
                ),
                Err(RecvTimeoutError::Disconnected) => bail!("{} is gone", self.name),
            }
        }
    }

    /// The first registration is often over before the control port answers, so its state is asked for.
    pub fn registered(&mut self) -> Result<()> {
        let deadline = Instant::now() + SOON;
        loop {
            let state = self.command("reginfo", "")?;
            if state.contains("OK") {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{} is not registered: {state}",
                self.name
            );
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// What it heard; complete once the call is closed.
    fn heard(&self) -> Result<Recording> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(&self.dir)?
            .flatten()
            .map(|entry| entry.path())
            .collect();
        files.retain(|file| file.to_string_lossy().ends_with("-dec.wav"));
        files.sort();
        let file = files
            .pop()
            .with_context(|| format!("{} recorded nothing", self.name))?;
        Recording::read(&file)
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        // Already gone is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads netstrings (`LENGTH:JSON,`) until the connection ends.
fn listen(mut stream: TcpStream) -> Receiver<Value> {
    let (sender, receiver) = sync_channel(1_024);
    std::thread::spawn(move || {
        let (mut buffer, mut chunk) = (Vec::new(), [0; 4_096]);
        while let Ok(n) = stream.read(&mut chunk) {
            if n == 0 {
                return;
            }
            buffer.extend_from_slice(&chunk[..n]);
            while let Some((message, rest)) = netstring(&buffer) {
                buffer = rest;
                if sender.send(message).is_err() {
                    return;
                }
            }
        }
    });
    receiver
}

fn netstring(buffer: &[u8]) -> Option<(Value, Vec<u8>)> {
    let colon = buffer.iter().position(|byte| *byte == b':')?;
    let length: usize = std::str::from_utf8(&buffer[..colon])
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let body = buffer.get(colon + 1..colon + 1 + length)?;
    let rest = buffer.get(colon + 2 + length..)?.to_vec();
    Some((serde_json::from_slice(body).unwrap_or(Value::Null), rest))
}

fn config(dir: &Path, authority: &Path, setting: &Setting<'_>) -> String {
    let modules = [
        "/usr/lib/baresip/modules",
        "/usr/lib/x86_64-linux-gnu/baresip/modules",
        "/usr/local/lib/baresip/modules",
    ];
    let modules = modules
        .iter()
        .find(|path| Path::new(path).is_dir())
        .unwrap_or(&modules[0]);
    let codec = if setting.codec.starts_with("opus") {
        "opus"
    } else {
        "g711"
    };
    format!(
        "sip_listen {sip}\ncall_local_timeout 60\ncall_max_calls 4\nnet_af {family}\n\
         sip_cafile {authority}\n\
         audio_source ausine,{tone}\naudio_player aubridge,{name}\naudio_alert aubridge,alert-{name}\n\
         ausrc_srate 48000\nauplay_srate 48000\nauplay_channels 1\nausrc_channels 2\n\
         ausrc_format s16\nauplay_format s16\nauenc_format s16\naudec_format s16\n\
         audio_telev_pt 101\nrtcp_mux no\njitter_buffer_delay 2-10\n\
         module_path {modules}\nsnd_path {dir}\n\
         module {codec}.so\nmodule ausine.so\nmodule aubridge.so\nmodule sndfile.so\n\
         module_tmp uuid.so\nmodule_tmp account.so\nmodule_app contact.so\nmodule_app menu.so\n\
         module_app ctrl_tcp.so\nctrl_tcp_listen 127.0.0.1:{control}\n",
        sip = setting.sip,
        family = if setting.sip.is_ipv6() {
            "ipv6"
        } else {
            "ipv4"
        },
        authority = authority.display(),
        tone = setting.tone,
        name = setting.name,
        dir = dir.display(),
        control = setting.control,
    )
}

/// A door with G.711 calls an app with Opus; each hears the other's tone; the app's 9 by RFC 4733 drives the relay.
pub fn call_between_two_phones(binary: &Binary) -> Result<bool> {
    match call(binary) {
        Ok(report) => {
            println!("ok    two baresip phones: {report}");
            Ok(true)
        }
        Err(error) => {
            println!("FAIL  two baresip phones: {error:#}");
            Ok(false)
        }
    }
}

fn call(binary: &Binary) -> Result<String> {
    let addresses = Addresses {
        one_host: true,
        ..Addresses::of(Family::V4, 190)
    };
    let relay = Relay::start()?;
    let building = Building::start_for_old_phones(binary, addresses, &relay, "two-phones")?;
    let password = |account: &str| building.password(account);
    let (door_password, app_password) = (password("lobby")?, password("app-101")?);
    let setting = |name, n, control, tone, codec, password, answers| Setting {
        name,
        sip: addresses.actor(n),
        control,
        tone,
        codec,
        password,
        way: Way::udp(addresses),
        answers,
    };
    let mut app = Phone::start(
        &building.dir,
        &setting(
            "app-101",
            1,
            14_471,
            1_000,
            "opus/48000/2",
            &app_password,
            true,
        ),
    )?;
    let mut door = Phone::start(
        &building.dir,
        &setting(
            "lobby",
            2,
            14_472,
            440,
            "PCMA/8000/1",
            &door_password,
            false,
        ),
    )?;
    app.registered()?;
    door.registered()?;
    door.command("dial", &format!("sip:101@{DOMAIN}"))?;
    door.event("CALL_ESTABLISHED")?;
    app.event("CALL_ESTABLISHED")?;
    // Two seconds of talk: the recordings need something to measure.
    std::thread::park_timeout(Duration::from_secs(2));
    let pressed = Instant::now();
    app.command("sndcode", "9")?;
    wait::until("the relay", Duration::from_secs(3), || {
        !relay.driven().is_empty()
    })?;
    let opened = relay.driven()[0].at.duration_since(pressed);
    app.command("sndcode", "\u{4}")?;
    std::thread::park_timeout(Duration::from_millis(500));
    door.command("hangup", "")?;
    app.event("CALL_CLOSED")?;
    let (at_app, at_door) = (app.heard()?.measure(440.0), door.heard()?.measure(1_000.0));
    ensure!(
        at_app.share > 0.8 && at_app.seconds > 1.0,
        "the app did not hear the door's 440 Hz: {at_app:?}"
    );
    ensure!(
        at_door.share > 0.8 && at_door.seconds > 1.0,
        "the door did not hear the app's 1,000 Hz: {at_door:?}"
    );
    ensure!(
        opened <= Duration::from_secs(1),
        "the relay was driven {opened:?} after the digit"
    );
    ensure!(
        relay.driven().len() == 1,
        "one press drove the relay {} times",
        relay.driven().len()
    );
    building.doorward(&["audit", "verify"])?;
    Ok(format!(
        "PCMA <-> Opus, tone share {:.3} at the app, {:.3} at the door; relay {} ms after the key",
        at_app.share,
        at_door.share,
        opened.as_millis()
    ))
}

/// The same two phones by every transport and family: registered, called, answered, hung up.
pub fn every_transport(binary: &Binary) -> Result<bool> {
    let mut fine = true;
    for (n, family) in [Family::V4, Family::V6].into_iter().enumerate() {
        for transport in ["udp", "tcp", "tls"] {
            let run = 150 + u8::try_from(n).unwrap_or(0);
            let name = format!("two baresip phones over {transport}, IP{family:?}");
            match by(binary, family, run, transport) {
                Ok(()) => println!("ok    {name}"),
                Err(error) => {
                    println!("FAIL  {name}: {error:#}");
                    fine = false;
                }
            }
        }
    }
    Ok(fine)
}

fn by(binary: &Binary, family: Family, run: u8, transport: &'static str) -> Result<()> {
    let addresses = Addresses {
        one_host: true,
        ..Addresses::of(family, run)
    };
    let relay = Relay::start()?;
    let doors = Doors::of(addresses);
    let name = format!("baresip-{transport}-{family:?}");
    let building = Building::start_secure(binary, addresses, &relay, &name, doors)?;
    let way = Way {
        transport,
        server: match transport {
            "tls" => doors.tls,
            _ => addresses.server(),
        },
    };
    let (door, app) = (building.password("lobby")?, building.password("app-101")?);
    let door = Setting::door(addresses, way, &door);
    let app = Setting {
        name: "app-101",
        sip: addresses.actor(1),
        control: 14_471,
        password: &app,
        answers: true,
        ..door
    };
    let mut app = Phone::start(&building.dir, &app)?;
    let mut door = Phone::start(&building.dir, &door)?;
    app.registered()?;
    door.registered()?;
    door.command("dial", &format!("sip:101@{DOMAIN}"))?;
    door.event("CALL_ESTABLISHED")?;
    app.event("CALL_ESTABLISHED")?;
    door.command("hangup", "")?;
    app.event("CALL_CLOSED")?;
    Ok(())
}
