//! A file's sound on the programme's time line: cut into packets, joined at seams without a gap. Pure.

/// How far a piece's own time may be from where it follows the one before, in nanoseconds: less is how containers round.
const TOLERANCE: i64 = 40_000_000;
/// How long a packet's worth of sound is, in milliseconds.
const PACKET_MS: i64 = 20;
/// How long silence may be that is put in at once, in seconds: a file whose sound has a longer hole is silent without it.
const MAX_HOLE: i64 = 2;

/// Sound as bytes that each last as long as the next: cut and joined by samples.
#[derive(Debug)]
pub(super) struct Cutter {
    /// Samples a second.
    rate: i64,
    /// Bytes of a sample of all channels.
    sample: usize,
    /// What a sample of silence is made of.
    silence: u8,
    /// Samples before `bytes` on the programme's time line.
    at: i64,
    bytes: Vec<u8>,
}

impl Cutter {
    pub(super) fn new(rate: i64, sample: usize, silence: u8) -> Cutter {
        Cutter { rate, sample, silence, at: 0, bytes: Vec::new() }
    }

    /// Nearest to `time`, in nanoseconds.
    fn samples(&self, time: i64) -> i64 {
        ((i128::from(time) * i128::from(self.rate) + 500_000_000) / 1_000_000_000) as i64
    }

    fn time(&self, samples: i64) -> i64 {
        (i128::from(samples) * 1_000_000_000 / i128::from(self.rate)) as i64
    }

    fn end(&self) -> i64 {
        self.at + (self.bytes.len() / self.sample) as i64
    }

    /// Until when there is sound, in nanoseconds.
    pub(super) fn filled_to(&self) -> i64 {
        self.time(self.end())
    }

    /// Takes a piece that begins at `time`; nothing of it after `limit`.
    pub(super) fn add(&mut self, time: i64, bytes: &[u8], limit: Option<i64>) {
        let (off, hole) = (self.samples(time) - self.end(), MAX_HOLE * self.rate);
        let mut bytes = bytes;
        if off.abs() > self.samples(TOLERANCE) {
            if off > hole {
                // The packets before it are complete; what is left of them ends here.
                self.bytes.clear();
                self.at = self.samples(time);
            } else if off > 0 {
                self.fill(off);
            } else {
                bytes = bytes.get((-off) as usize * self.sample..).unwrap_or_default();
            }
        }
        let room = limit.map_or(usize::MAX, |limit| (self.samples(limit) - self.end()).max(0) as usize);
        let whole = (bytes.len() / self.sample).min(room) * self.sample;
        self.bytes.extend_from_slice(&bytes[..whole]);
    }

    fn fill(&mut self, samples: i64) {
        let bytes = samples.max(0) as usize * self.sample;
        self.bytes.resize(self.bytes.len() + bytes, self.silence);
    }

    /// Ends a pass at `time`: what is missing up to there is silence.
    pub(super) fn end_at(&mut self, time: i64) {
        let missing = self.samples(time) - self.end();
        if missing > MAX_HOLE * self.rate {
            self.bytes.clear();
            self.at = self.samples(time);
        } else {
            self.fill(missing);
        }
    }

    /// When the next packet begins, if it is there.
    pub(super) fn next(&self) -> Option<i64> {
        (self.bytes.len() >= self.packet()).then(|| self.time(self.at))
    }

    /// A packet of silence.
    pub(super) fn quiet(&self) -> Vec<u8> {
        vec![self.silence; self.packet()]
    }

    fn packet(&self) -> usize {
        (self.rate * PACKET_MS / 1000) as usize * self.sample
    }

    /// The next packet, and when it begins and ends.
    pub(super) fn take(&mut self) -> Option<(i64, i64, Vec<u8>)> {
        let begins = self.next()?;
        let rest = self.bytes.split_off(self.packet());
        let packet = std::mem::replace(&mut self.bytes, rest);
        self.at += self.rate * PACKET_MS / 1000;
        Some((begins, self.time(self.at), packet))
    }
}

/// Sound in packets, which can't be cut: at a seam one is left out where they would come to last half a packet too long.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// When the last packet ended.
    next: Option<i64>,
}

impl Row {
    /// When a packet is to be played that begins at `time`; `None` when there is no room for it before `limit`.
    pub(super) fn place(&mut self, time: i64, duration: i64, limit: Option<i64>) -> Option<i64> {
        let follows = self.next.filter(|next| (time - next).abs() <= TOLERANCE);
        let at = match self.next {
            // Before what was played already, and by more than a seam's overlap: not again.
            Some(next) if follows.is_none() && time < next => return None,
            _ => follows.unwrap_or(time),
        };
        if limit.is_some_and(|limit| at + duration / 2 >= limit) {
            return None;
        }
        self.next = Some(at + duration);
        Some(at)
    }

    /// Until when there is sound, in nanoseconds.
    pub(super) fn filled_to(&self) -> i64 {
        self.next.unwrap_or_default()
    }
}

/// How long a pass is that ends there: its pictures decide, unless its sound goes on for longer than a container's rounding, or stops
/// that much before.
pub(super) fn length(first: i64, video: Option<i64>, audio: Option<i64>) -> i64 {
    /// Longer than the last frame of any codec.
    const ROUNDING: i64 = 250_000_000;
    let end = match (video, audio) {
        (Some(video), Some(audio)) if audio - video > ROUNDING => audio,
        (Some(video), _) => video,
        (None, Some(audio)) => audio,
        (None, None) => first,
    };
    (end - first).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// 8000 samples of a byte each.
    fn cutter() -> Cutter {
        Cutter::new(8000, 1, 0xff)
    }

    fn sound(samples: usize) -> Vec<u8> {
        (0..samples).map(|nth| (nth % 100) as u8).collect()
    }

    fn all(cutter: &mut Cutter) -> Vec<u8> {
        std::iter::from_fn(|| cutter.take()).flat_map(|(_, _, packet)| packet).collect()
    }

    #[test]
    fn pieces_of_any_size_become_packets_of_20_ms_one_after_the_other() {
        let mut cutter = cutter();
        cutter.add(0, &sound(250), None);
        assert_eq!(cutter.take().map(|(begins, ends, packet)| (begins, ends, packet.len())), Some((0, 20 * MS, 160)));
        assert_eq!(cutter.take(), None);
        // 31.25 ms, as a container rounds it.
        cutter.add(31 * MS, &sound(70), None);
        assert_eq!(cutter.take().map(|(begins, ..)| begins), Some(20 * MS));
    }

    #[test]
    fn a_seam_is_cut_and_filled_to_the_sample() {
        let mut cutter = cutter();
        let pass = 995 * MS;
        // The sound is longer than the pictures: cut.
        cutter.add(0, &sound(8000), Some(pass));
        cutter.end_at(pass);
        // Shorter: filled.
        cutter.add(pass, &sound(7900), Some(2 * pass));
        cutter.end_at(2 * pass);
        cutter.add(2 * pass, &sound(160), None);
        let all = all(&mut cutter);
        assert_eq!(all[..7960], sound(7960));
        assert_eq!(all[7960..7960 + 7900], sound(7900));
        assert!(all[7960 + 7900..2 * 7960].iter().all(|byte| *byte == 0xff));
        assert_eq!(all[2 * 7960..][..80], sound(80));
    }

    #[test]
    fn a_hole_is_silent_and_what_comes_twice_is_played_once() {
        let mut cutter = cutter();
        cutter.add(0, &sound(800), None);
        cutter.add(200 * MS, &sound(800), None);
        assert_eq!(cutter.filled_to(), 300 * MS);
        cutter.add(200 * MS, &sound(1600), None);
        assert_eq!(cutter.filled_to(), 400 * MS);
        // A long one takes no memory.
        cutter.add(3_600_000 * MS, &sound(160), None);
        assert_eq!(cutter.take().map(|(begins, ..)| begins), Some(3_600_000 * MS));
    }

    #[test]
    fn packets_stay_within_half_a_packet_of_the_pictures_over_many_seams() {
        let mut row = Row::default();
        // 248.5 packets a pass; the file has 249.
        let pass = 4970 * MS;
        let mut last = None;
        for nth in 0..20 {
            let base = nth * pass;
            for packet in 0..249 {
                if let Some(at) = row.place(base + packet * 20 * MS, 20 * MS, Some(base + pass)) {
                    assert!(last.is_none_or(|last| at - last == 20 * MS), "no gap");
                    last = Some(at);
                    assert!((at - base - packet * 20 * MS).abs() <= 10 * MS);
                }
            }
        }
    }

    #[test]
    fn pictures_say_how_long_a_pass_is_unless_sound_goes_on_without_them() {
        assert_eq!(length(0, Some(5000 * MS), Some(5013 * MS)), 5000 * MS);
        assert_eq!(length(0, Some(5000 * MS), Some(4000 * MS)), 5000 * MS);
        assert_eq!(length(0, Some(5000 * MS), Some(9000 * MS)), 9000 * MS);
        assert_eq!(length(100 * MS, None, Some(9000 * MS)), 8900 * MS);
    }
}
