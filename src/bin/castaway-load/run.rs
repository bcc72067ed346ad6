//! A run: streamers connect, listeners join, streamers send clips, and the results are counted.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use crate::audience::Audience;
use crate::clip::Clips;
use crate::cost::Course;
use crate::doors::{LISTENERS_PER_USER, doors, guests};
use crate::listener::{JOIN_TIMEOUT, Joined, Listener, Manner};
use crate::options::Options;
use crate::process::{Usage, make_room};
use crate::report::{Quantiles, Report, Sample, millis, ratio};
use crate::socket::Door;
use crate::streamer::Streamer;
use crate::tally::{Ear, Latencies, Mouth};

/// Idle time before memory is measured, so that the temporary memory of joins is released; and for each listener, after which
/// the server tells their number for the last time.
const SETTLE: Duration = Duration::from_millis(1500);
const SETTLE_EACH: Duration = Duration::from_millis(1);
/// How often the run checks whether all clips are received.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// State of a run.
struct Run {
    options: Options,
    clips: Clips,
    doors: Vec<Door>,
    guests: Vec<String>,
    mouths: Vec<Arc<Mouth>>,
    /// Latencies since the last sample, and those before.
    recent: Arc<Latencies>,
    latencies: Latencies,
    joins: Latencies,
    tasks: JoinSet<()>,
    report: Report,
}

/// Runs the load of `options`.
pub(crate) async fn run(options: Options) -> anyhow::Result<Report> {
    let clients = [
        options.listeners,
        options.streamers,
        options.stalled,
        options.slow,
        options.passing,
    ];
    make_room(clients.iter().map(|&count| u64::from(count)).sum())?;
    let id = rand::random();
    let clips = match &options.file {
        Some(file) => Clips::from_file(
            std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?,
            id,
        ),
        None => Clips::generated(options.bytes, id),
    };
    let doors = doors(&options).await?;
    let guests = guests(&options).await?;
    let report = Report {
        streamers: options.streamers,
        clip_bytes: clips.bytes(),
        ..Report::default()
    };
    let run = Run {
        mouths: doors.iter().map(|_| Arc::default()).collect(),
        recent: Arc::default(),
        latencies: Latencies::default(),
        joins: Latencies::default(),
        tasks: JoinSet::new(),
        options,
        clips,
        doors,
        guests,
        report,
    };
    run.go().await
}

impl Run {
    async fn go(mut self) -> anyhow::Result<Report> {
        let healthy = Audience::new(self.options.listeners, Manner::Healthy);
        let slow = Audience::new(self.options.slow, Manner::Slow(self.options.slow_rate));
        let stalled = Audience::new(self.options.stalled, Manner::Stalled);

        let passing = Audience::new(self.options.passing, Manner::Passing(self.options.stay));

        let (start, started) = watch::channel(false);
        self.connect_streamers(&started).await?;
        let before = self.usage()?;
        for audience in [&healthy, &slow, &stalled, &passing] {
            self.join_listeners(audience).await;
        }
        let joined = self.usage()?;
        if self.options.pid.is_some() {
            sleep(SETTLE + SETTLE_EACH * self.options.listeners).await;
        }
        let settled = self.usage()?;
        sleep(self.options.idle).await;
        let idle = self.usage()?;
        self.wait().await?;
        let started_with = self.usage()?;

        let began = Instant::now();
        start.send_replace(true);
        let stalled_gone = self.watch(&healthy, &stalled, &passing, began).await?;
        let took = began.elapsed();
        let after = self.usage()?;

        self.count(&healthy, took);
        self.report.stalled = stalled.impaired(stalled_gone);
        self.report.slow = slow.impaired(None);
        self.report.passing = (self.options.passing > 0).then(|| passing.passing());
        let usages = [before, joined, settled, idle, started_with, after];
        if let [
            Some(before),
            Some(joined),
            Some(settled),
            Some(idle),
            Some(start),
            Some(after),
        ] = usages
        {
            let course = Course {
                before,
                joined,
                settled,
                idle,
                start,
                after,
            };
            let others = self.options.slow + self.options.stalled + self.options.passing;
            let clients = self.report.listeners + u64::from(others);
            let deliveries = self.report.deliveries;
            self.report.server = Some(course.cost(clients, deliveries, self.options.idle));
        }
        self.tasks.shutdown().await;
        Ok(self.report)
    }

    /// Waits for a line on standard input, if it should.
    async fn wait(&self) -> anyhow::Result<()> {
        if self.options.wait {
            writeln!(
                std::io::stderr(),
                "all have joined: a line starts the clips"
            )?;
            let read = || std::io::stdin().read_line(&mut String::new());
            tokio::task::spawn_blocking(read).await??;
        }
        Ok(())
    }

    fn usage(&self) -> anyhow::Result<Option<Usage>> {
        self.options.pid.map(Usage::of).transpose()
    }

    async fn connect_streamers(&mut self, started: &watch::Receiver<bool>) -> anyhow::Result<()> {
        for (number, door) in (0..).zip(&self.doors) {
            let streamer = Streamer {
                door: door.clone(),
                number,
                clips: self.clips.clone(),
                mouth: Arc::clone(&self.mouths[usize::try_from(number)?]),
                count: self.options.clips,
                pace: self.options.pace,
                cut_every: self.options.cut_every,
                offset: self.options.pace * number / self.options.streamers,
            };
            let on_air = timeout(JOIN_TIMEOUT, streamer.connect())
                .await
                .context("a streamer heard neither success nor error")?
                .map_err(anyhow::Error::msg)
                .with_context(|| format!("streamer {} was not admitted", number + 1))?;
            self.tasks.spawn(on_air.run(started.clone()));
        }
        Ok(())
    }

    async fn join_listeners(&mut self, audience: &Audience) {
        let permits = self.options.joining.try_into().unwrap_or(usize::MAX);
        let permits = Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        let (results, mut joins) = mpsc::channel::<Joined>(64);
        for (index, (ear, number)) in audience
            .ears
            .iter()
            .zip((0..self.options.streamers).cycle())
            .enumerate()
        {
            let mut door = self.doors[number as usize].clone();
            if let Some(guest) = self.guests.get(index / LISTENERS_PER_USER) {
                door.token.clone_from(guest);
            }
            // Evenly among the listeners of each livestream.
            let place = index / self.options.streamers as usize;
            door.is_for_clips = is_chosen(place as u64, self.options.clip_listeners.into());
            let listener = Listener {
                door,
                streamer: number,
                clips: self.clips.clone(),
                ear: Arc::clone(ear),
                latencies: Arc::clone(&self.recent),
                manner: audience.manner,
            };
            let (permits, results) = (Arc::clone(&permits), results.clone());
            self.tasks.spawn(async move {
                let Ok(permit) = permits.acquire_owned().await else {
                    return;
                };
                let (one, mut joined) = mpsc::channel(1);
                let pass_on = async {
                    let outcome = timeout(JOIN_TIMEOUT, joined.recv()).await;
                    let timed_out = Err("neither success nor error in time".into());
                    let _ = results
                        .send(outcome.ok().flatten().unwrap_or(timed_out))
                        .await;
                    drop((permit, results));
                };
                tokio::join!(listener.run(one), pass_on);
            });
        }
        drop(results);
        let mut ticks = interval(Duration::from_secs(1));
        ticks.tick().await;
        let mut done = 0;
        loop {
            tokio::select! {
                joined = joins.recv() => match joined {
                    None => break,
                    Some(Ok(took)) => { done += 1; self.joins.record(took); }
                    Some(Err(why)) => {
                        self.report.not_joined += 1;
                        self.report.first_refusal.get_or_insert(why);
                    }
                },
                _ = ticks.tick() => self.say(&format!("joined {done} of {}", audience.ears.len())),
            }
        }
        if audience.manner == Manner::Healthy {
            self.report.listeners = done;
        }
    }

    /// Waits until all clips that can arrive are received. Returns the time at which the last stalled listener was
    /// closed.
    async fn watch(
        &self,
        healthy: &Audience,
        stalled: &Audience,
        passing: &Audience,
        began: Instant,
    ) -> anyhow::Result<Option<Duration>> {
        // The time after the last clip belongs to it: the server has other work in it than deliveries.
        let clips = u32::try_from(self.options.clips).unwrap_or(u32::MAX);
        let whole = self.options.pace.saturating_mul(clips);
        let mut last_sent = None;
        let mut all_closed = None;
        let mut reported = Instant::now();
        let mut before = 0;
        let mut sampled = (began, 0);
        loop {
            sleep(CHECK_INTERVAL).await;
            if all_closed.is_none() && stalled.closed() == stalled.ears.len() as u64 {
                all_closed = Some(began.elapsed());
            }
            let sending = self.mouths.iter().any(|mouth| !mouth.done.load(Relaxed));
            if reported.elapsed() >= Duration::from_secs(1) {
                let heard = healthy.sum(|ear| ear.received.load(Relaxed));
                let sent: u64 = self
                    .mouths
                    .iter()
                    .map(|mouth| mouth.sent.load(Relaxed))
                    .sum();
                self.say(&format!(
                    "{:>4.0} s  {sent} clips sent, {heard} deliveries, {:.0} a second",
                    began.elapsed().as_secs_f64(),
                    ratio(heard - before, 1) / reported.elapsed().as_secs_f64()
                ));
                (before, reported) = (heard, Instant::now());
            }
            if let Some(every) = self.options.samples.filter(|it| sampled.0.elapsed() >= *it) {
                let heard = healthy.sum(|ear| ear.received.load(Relaxed));
                self.sample(began, heard - sampled.1, healthy, passing)?;
                // Not late for the next one because of this one.
                sampled = (sampled.0 + every, heard);
            }
            if sending {
                continue;
            }
            let since = *last_sent.get_or_insert_with(Instant::now);
            let over = since.elapsed() >= self.options.drain || self.all_received(healthy);
            if over && began.elapsed() >= whole {
                return Ok(all_closed.filter(|_| !stalled.ears.is_empty()));
            }
        }
    }

    fn sample(
        &self,
        began: Instant,
        deliveries: u64,
        healthy: &Audience,
        passing: &Audience,
    ) -> anyhow::Result<()> {
        let recent = self.recent.take();
        self.latencies.absorb(&recent);
        let sample = Sample {
            seconds: began.elapsed().as_secs_f64(),
            deliveries,
            latency_ms: quantiles(&recent),
            passing: passing.passing(),
            returns: self.returns(),
            closed: healthy.closed().saturating_sub(self.report.not_joined),
        };
        let line = serde_json::to_string(&sample)? + "\n";
        let mut out = std::io::stdout();
        out.write_all(line.as_bytes())?;
        Ok(out.flush()?)
    }

    fn returns(&self) -> u64 {
        let returns = |mouth: &Arc<Mouth>| mouth.returns.load(Relaxed);
        self.mouths.iter().map(returns).sum()
    }

    fn all_received(&self, healthy: &Audience) -> bool {
        let answered = self.mouths.iter().all(|mouth| mouth.is_answered());
        let heard = |(ear, mouth): (&Arc<Ear>, &Arc<Mouth>)| {
            ear.closed.load(Relaxed) || ear.received.load(Relaxed) >= mouth.owed()
        };
        answered
            && healthy
                .ears
                .iter()
                .zip(self.mouths.iter().cycle())
                .all(heard)
    }

    fn count(&mut self, healthy: &Audience, took: Duration) {
        let mouths = |what: fn(&Mouth) -> u64| self.mouths.iter().map(|mouth| what(mouth)).sum();
        let returns = self.returns();
        let report = &mut self.report;
        report.returns = returns;
        report.clips_sent = mouths(|mouth| mouth.sent.load(Relaxed));
        report.clips_refused = mouths(|mouth| mouth.refused.load(Relaxed));
        report.clips_confirmed = mouths(|mouth| mouth.confirmed.load(Relaxed));
        report.first_trouble = self
            .mouths
            .iter()
            .find_map(|mouth| mouth.trouble.get().cloned());
        report.deliveries = healthy.sum(|ear| ear.received.load(Relaxed));
        report.corrupt = healthy.sum(|ear| ear.corrupt.load(Relaxed));
        report.disordered = healthy.sum(|ear| ear.disordered.load(Relaxed));
        report.mixed = healthy.sum(|ear| ear.mixed.load(Relaxed));
        report.closed = healthy.closed().saturating_sub(report.not_joined);
        let pairs = healthy.ears.iter().zip(self.mouths.iter().cycle());
        let lost = |(ear, mouth): (&Arc<Ear>, &Arc<Mouth>)| {
            mouth.owed().saturating_sub(ear.received.load(Relaxed))
        };
        report.lost = pairs.map(lost).sum();
        report.seconds = took.as_secs_f64();
        let bytes = report.deliveries * report.clip_bytes as u64;
        report.megabytes_per_second = ratio(bytes, 1_000_000) / report.seconds;
        self.latencies.absorb(&self.recent.take());
        report.latency_ms = quantiles(&self.latencies);
        report.join_ms = quantiles(&self.joins);
    }

    fn say(&self, line: &str) {
        if !self.options.quiet {
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }
}

/// Whether a thing at this place is one of `percent` of a hundred, evenly spread.
fn is_chosen(place: u64, percent: u64) -> bool {
    (place + 1) * percent / 100 > place * percent / 100
}

fn quantiles(latencies: &Latencies) -> Quantiles {
    let at = |thousandths| millis(latencies.quantile(thousandths));
    Quantiles {
        p50: at(500),
        p95: at(950),
        p99: at(990),
        max: at(1000),
    }
}

#[cfg(test)]
mod tests {
    use super::is_chosen;

    #[test]
    fn chosen_share_is_spread_evenly() {
        let chosen = |percent| (0..200).filter(move |place| is_chosen(*place, percent));
        assert_eq!(chosen(0).count(), 0);
        assert_eq!(chosen(100).count(), 200);
        assert!(chosen(50).eq((1..200).step_by(2)));
    }
}
