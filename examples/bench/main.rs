//! What a call takes: answer time, first picture, and what callers cost. Prints tables for the README.
//!
//! A camera, callgate and the callers are three processes on this machine, with callgate's own relay between them. `make bench`
//! builds and runs it.

mod callers;
mod processes;

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use callers::{Begun, Caller, Line, Seen};
use callgate::store::{CallFilter, CallLog};
use clap::Parser;
use nostr::{PublicKey, RelayUrl};
use processes::{Process, Usage, usage};

/// Frames a second of the camera.
const FPS: u32 = 25;
/// Between the camera's keyframes.
const GOP: Duration = Duration::from_secs(10);
/// From one join to the next: the golden section of the group of pictures, so that the joins are spread over it evenly.
const BETWEEN_JOINS: Duration = Duration::from_millis(3820);
/// Calls at once that are recorded, and as many that are not.
const RECORDED: usize = 10;
/// How long a join is watched after its answer; its lag is taken in the second half.
const WATCHED: Duration = Duration::from_secs(2);
/// A picture that comes less than this after the other caller has it is at the live edge: half of its duration.
const AT_THE_EDGE: f64 = 20.0;

#[derive(Parser)]
struct Arguments {
    /// How many callers join one after the other, to see their first picture.
    #[arg(long, default_value_t = 12)]
    joins: u32,
    /// How many callers at once are measured, rising.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 50])]
    callers: Vec<usize>,
    /// Seconds for which each number of callers is measured.
    #[arg(long, default_value_t = 12)]
    seconds: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    callgate::media::init()?;
    let folder = tempfile::tempdir()?;
    match measure(&arguments, folder.path()).await {
        Ok(()) => Ok(()),
        Err(error) => {
            let log = std::fs::read_to_string(folder.path().join("callgate.log")).unwrap_or_default();
            Err(error.context(format!("callgate's log:\n{log}")))
        }
    }
}

async fn measure(arguments: &Arguments, folder: &Path) -> anyhow::Result<()> {
    let (_camera, url) = camera(folder)?;
    let (gateway, [line, recorded, unrecorded]) = callgate(folder, &url)?;
    let time = Duration::from_secs(arguments.seconds);

    eprintln!("nobody calls: the group of pictures fills ...");
    tokio::time::sleep(GOP).await;
    let idle = usage(gateway.pid(), time).await?;

    eprintln!("{} callers join ...", arguments.joins);
    let mut first = Caller::dial(&line, true).await?;
    first.shown().await?;
    // The joins are compared with what the first caller has: it must have a keyframe older than any of theirs.
    tokio::time::sleep(GOP).await;
    let mut joins = Vec::new();
    let mut due = Instant::now();
    for _ in 0..arguments.joins {
        tokio::time::sleep_until(due.into()).await;
        due += BETWEEN_JOINS;
        joins.push(join(&line, &first).await?);
    }

    let mut all = vec![first];
    let mut loads = vec![Load { callers: 0, whole: 0, used: idle }];
    for &count in &arguments.callers {
        eprintln!("{count} callers ...");
        while all.len() < count {
            let mut caller = Caller::dial(&line, false).await?;
            caller.shown().await?;
            all.push(caller);
        }
        // Bursts end, and the heap settles.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = frames(&all)?;
        let used = usage(gateway.pid(), time).await?;
        let whole = whole(&before, &frames(&all)?, time);
        loads.push(Load { callers: count, whole, used });
    }
    futures::future::try_join_all(all.into_iter().map(Caller::hang_up)).await?;
    eprintln!("{RECORDED} calls, and as many that are recorded ...");
    let unrecorded = cost(&gateway, &unrecorded, time).await?;
    let recorded = cost(&gateway, &recorded, time).await?;
    gateway.terminate()?;

    let answers = answers(folder)?;
    println!(
        "{}. The camera (H.264, 1280x720, {FPS} a second, {:.1} Mbit/s, a keyframe every {} s, and PCMU), callgate and its \
         callers share the machine and speak over loopback.\n",
        processes::machine(),
        bitrate(&joins),
        GOP.as_secs()
    );
    print_times(&answers, &joins);
    print_loads(&loads);
    let each = (recorded - unrecorded) / RECORDED as f64;
    println!(
        "\nRecording what the line shows in {RECORDED} calls at once adds {each:.2} % of a core to each (target: less than 0.5 %)."
    );
    Ok(())
}

/// What callers of a line use of a core, in %.
async fn cost(gateway: &Process, line: &Line, time: Duration) -> anyhow::Result<f64> {
    let mut callers = Vec::new();
    for _ in 0..RECORDED {
        let mut caller = Caller::dial(line, false).await?;
        caller.shown().await?;
        callers.push(caller);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let used = usage(gateway.pid(), time).await?;
    futures::future::try_join_all(callers.into_iter().map(Caller::hang_up)).await?;
    Ok(used.cpu)
}

fn camera(folder: &Path) -> anyhow::Result<(Process, String)> {
    let keyframe = (FPS * GOP.as_secs() as u32).to_string();
    let fps = FPS.to_string();
    let arguments = ["--width", "1280", "--height", "720", "--fps", &fps, "--keyframe", &keyframe, "--bitrate", "2000"];
    let program = processes::built()?.join("examples/camera");
    let mut camera =
        Process::start(&program, &[&arguments[..], &["--noise", "--stamp"]].concat(), &folder.join("camera.log"))?;
    let url = camera.line()?;
    Ok((camera, url))
}

/// callgate with the line that is measured, and two to compare: one that is recorded and one that is not.
fn callgate(folder: &Path, camera: &str) -> anyhow::Result<(Process, [Line; 3])> {
    // Free a moment ago: nothing else here takes ports meanwhile.
    let relay = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let configuration = folder.join("callgate.toml");
    std::fs::write(
        &configuration,
        format!(
            "data_dir = \"data\"\nlimits = {{ calls = 64 }}\naccess = {{ allow = [\"*\"] }}\nice = {{ bind = [\"127.0.0.1\"] }}\n\
             nostr = {{ embedded_relay = \"{relay}\" }}\n[[line]]\nname = \"bench\"\nplay = \"{camera}\"\nkeep_warm = true\n\
             [[line]]\nname = \"recorded\"\nplay = \"{camera}\"\nrecord = \"line\"\n\
             [[line]]\nname = \"unrecorded\"\nplay = \"{camera}\"\n"
        ),
    )?;
    let program = processes::built()?.join("callgate");
    let configuration = configuration.to_str().context("a path in UTF-8")?;
    let mut gateway = Process::start(&program, &["run", "-c", configuration], &folder.join("callgate.log"))?;
    let mut line = || -> anyhow::Result<Line> {
        let ready = gateway.line()?;
        let npub =
            ready.split_whitespace().find(|word| word.starts_with("npub1")).context("callgate names its line")?;
        Ok(Line { key: PublicKey::parse(npub)?, relay: RelayUrl::parse(&format!("ws://{relay}"))? })
    };
    let lines = [line()?, line()?, line()?];
    Ok((gateway, lines))
}

/// One caller who joined, in milliseconds from its answer.
struct Join {
    offer_to_answer: f64,
    /// DTLS, as the caller sees it.
    connected: f64,
    /// How old the keyframe was that it began with.
    keyframe_age: f64,
    first_picture: f64,
    at_the_edge: f64,
    /// Of each picture from 1 s on, behind the first caller.
    lags: Vec<f64>,
    pictures: usize,
    /// Pictures that the first caller doesn't have, in another order than it has them, or left out; and a beginning without keyframe.
    wrong: usize,
    /// Mbit/s.
    bitrate: f64,
}

async fn join(line: &Line, first: &Caller) -> anyhow::Result<Join> {
    let mut caller = Caller::dial(line, true).await?;
    let Begun { offered, answered, connected } = caller.shown().await?;
    tokio::time::sleep_until((answered + WATCHED).into()).await;
    let seen = caller.seen().clone();
    let bitrate = first.stats()?.video.bitrate as f64 / 1e6;
    caller.hang_up().await?;
    let known = first.seen().clone();
    let places: HashMap<_, _> = known.iter().enumerate().map(|(place, picture)| (picture.sha256, place)).collect();
    let shown: Vec<(usize, &Seen)> =
        seen.iter().filter_map(|picture| Some((*places.get(&picture.sha256)?, picture))).collect();
    let (&(place, _), Some(picture)) = (shown.first().context("no picture that the first caller has")?, seen.first())
    else {
        bail!("no picture");
    };
    let lags = || {
        shown.iter().map(|(place, seen)| (since(answered, seen.arrived), since(known[*place].arrived, seen.arrived)))
    };
    let in_order = shown.iter().zip(place..).filter(|((is, _), place)| is == place).count();
    let join = Join {
        offer_to_answer: since(offered, answered),
        connected: since(answered, connected),
        keyframe_age: since(known[place].arrived, answered),
        first_picture: since(answered, picture.arrived),
        at_the_edge: lags().find(|(_, lag)| *lag < AT_THE_EDGE).map_or(f64::INFINITY, |(after, _)| after),
        lags: lags().filter(|(after, _)| *after >= 1000.0).map(|(_, lag)| lag).collect(),
        pictures: seen.len(),
        wrong: seen.len() - in_order + usize::from(!picture.keyframe),
        bitrate,
    };
    eprintln!(
        "  answer after {:.0} ms; then connected after {:.0} ms, first picture {:.0} ms, live edge {:.0} ms; {} pictures, {} wrong",
        join.offer_to_answer, join.connected, join.first_picture, join.at_the_edge, join.pictures, join.wrong
    );
    Ok(join)
}

fn since(earlier: Instant, later: Instant) -> f64 {
    match later.checked_duration_since(earlier) {
        Some(after) => after.as_secs_f64() * 1e3,
        None => -earlier.duration_since(later).as_secs_f64() * 1e3,
    }
}

/// (pictures, packets lost) that each caller has by now.
fn frames(callers: &[Caller]) -> anyhow::Result<Vec<(u64, u64)>> {
    callers
        .iter()
        .map(|caller| caller.stats().map(|stats| (stats.video.frames, stats.video.lost + stats.audio.lost)))
        .collect()
}

/// How many callers lost no packet and had the pictures of this time.
fn whole(before: &[(u64, u64)], after: &[(u64, u64)], time: Duration) -> usize {
    // Statistics are told once a second.
    let least = (time.as_secs() - 2) * u64::from(FPS);
    let gained = before.iter().zip(after).map(|(before, after)| (after.0 - before.0, after.1 - before.1));
    eprintln!("  pictures and lost packets of each: {:?}", gained.clone().collect::<Vec<_>>());
    gained.filter(|(pictures, lost)| *lost == 0 && *pictures >= least).count()
}

/// From an offer that was read to its answer being made, in the order of the measured line's calls, as callgate logged it.
fn answers(folder: &Path) -> anyhow::Result<Vec<f64>> {
    let log = CallLog::open(&folder.join("data"))?.context("a call log")?;
    let mut calls = log.calls(&CallFilter { line: Some("bench".to_owned()), ..CallFilter::default() }, 1000)?;
    calls.sort_by_key(|call| call.offered_ms);
    calls
        .iter()
        .map(|call| {
            call.answered_ms.map(|answered| (answered - call.offered_ms) as f64).context("a call without an answer")
        })
        .collect()
}

fn bitrate(joins: &[Join]) -> f64 {
    joins.iter().map(|join| join.bitrate).sum::<f64>() / joins.len() as f64
}

fn print_times(answers: &[f64], joins: &[Join]) {
    let of = |value: fn(&Join) -> f64| joins.iter().map(value).collect::<Vec<_>>();
    let row = |what: &str, mut values: Vec<f64>, target: &str| {
        values.sort_by(f64::total_cmp);
        let (median, worst) = (values.get(values.len() / 2), values.last());
        let text = |value: Option<&f64>| {
            value.map_or("-".to_owned(), |value| format!("{:.1$} ms", value + 0.0, usize::from(*value < 10.0)))
        };
        println!("| {what} | {} | {} | {target} |", text(median), text(worst));
    };
    let (first, later) = answers.split_at(1.min(answers.len()));
    let (alone, crowded) = later.split_at(joins.len().min(later.len()));
    let ages = of(|join| join.keyframe_age / 1e3);
    let (youngest, oldest) = ages.iter().fold((f64::MAX, 0_f64), |(low, high), &age| (low.min(age), high.max(age)));
    println!("| a call's beginning | median | worst | target |\n|---|---|---|---|");
    row("offer read to answer made: the first call", first.to_vec(), "");
    row(&format!("the next {}, beside one other caller", alone.len()), alone.to_vec(), "20 ms");
    row(&format!("{} more, beside up to {} others", crowded.len(), crowded.len()), crowded.to_vec(), "20 ms");
    row("offer sent to answer received, at the caller", of(|join| join.offer_to_answer), "");
    // The log's times are whole milliseconds: a single difference may be off by one.
    let signaling = joins.iter().zip(alone).map(|(join, made)| (join.offer_to_answer - made).max(0.0)).collect();
    row("of that not the answer's making: signaling, both ways through the embedded relay", signaling, "5 ms");
    row(
        &format!("answer to the first picture, a keyframe {youngest:.1} to {oldest:.1} s old"),
        of(|join| join.first_picture),
        "100 ms",
    );
    row("answer to a secured connection", of(|join| join.connected), "");
    row("answer to the live edge", of(|join| join.at_the_edge), "1000 ms");
    row(
        "from 1 s after the answer on: behind a caller who was there before",
        joins.iter().flat_map(|join| join.lags.iter().copied()).collect(),
        "a picture's 40 ms",
    );
    let (pictures, wrong): (usize, usize) =
        joins.iter().fold((0, 0), |(pictures, wrong), join| (pictures + join.pictures, wrong + join.wrong));
    println!("| pictures of these calls broken, missing or out of order | {wrong} of {pictures} | | 0 |\n");
}

/// What a number of callers costs.
struct Load {
    callers: usize,
    /// Those who got every picture meanwhile.
    whole: usize,
    used: Usage,
}

fn print_loads(loads: &[Load]) {
    println!(
        "| callers | CPU, % of a core | memory | threads | file descriptors | got every packet | the callers' side | all cores busy |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let Some(Load { used: idle, .. }) = loads.first() else { return };
    for Load { callers, whole, used } in loads {
        let each = |now: f64, then: f64, digits: usize, unit: &str| match callers {
            0 => String::new(),
            _ => format!(" ({:.digits$}{unit} each)", (now - then) / *callers as f64),
        };
        println!(
            "| {callers} | {:.1} %{} | {:.0} MB{} | {}{} | {}{} | {whole} | {:.0} % | {:.0} % |",
            used.cpu,
            each(used.cpu, idle.cpu, 2, " %"),
            used.memory,
            each(used.memory, idle.memory, 1, " MB"),
            used.threads,
            each(used.threads as f64, idle.threads as f64, 1, ""),
            used.files,
            each(used.files as f64, idle.files as f64, 1, ""),
            used.callers_cpu,
            used.machine,
        );
    }
}
