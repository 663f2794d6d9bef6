"""A study from its first run to its last: tune in rounds, then train fresh seeds, then test.

What to train next is a function of the records that there are. So a study that was stopped
anywhere goes on where it was, two processes share one study, and one that grows (more methods,
ranks or trials) reuses whatever it has trained before.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lowrank_bench.checks import check
from lowrank_bench.errors import ConfigError
from lowrank_bench.job import Job
from lowrank_bench.protocol import optuna_search, search
from lowrank_bench.protocol.ledger import DUPLICATES, FILE, Ledger, Setting, Trial
from lowrank_bench.protocol.search import LR, Scored, Space
from lowrank_bench.protocol.seeds_needed import what_cannot_be_claimed
from lowrank_bench.protocol.wording import plural
from lowrank_bench.record import RunRecord
from lowrank_bench.session import Session
from lowrank_bench.study.arms import Compose, Entry, entries
from lowrank_bench.study.rules import ledger_of, space_of

Train = Callable[[Sequence[Job], Callable[[], None]], None]


class Study:
    """A study of the arms that are the points of a grid."""

    def __init__(self, points: Sequence[list[str]], compose: Compose, session: Session) -> None:
        self.compose, self.session = compose, session
        self.entries: list[Entry] = entries(points, compose)
        first = self.entries[0].job
        self.root = Path(first.cfg.run.dir)
        node = first.cfg.study
        self.wants_report = bool(node.report)
        arms = [entry.arm for entry in self.entries]
        self.ledger: Ledger = ledger_of(node, first.identity.control_hash, arms)
        self._jobs: dict[str, list[list[Job]]] = {arm.name: [] for arm in arms}  # by trial
        self._check_folder()
        self._check_knobs()

    def conduct(self, train: Train) -> None:
        """`train` gets the jobs of each round, of which some may be finished, and what to call
        once they are seen to be right and before the first of them trains.
        """
        self._say_what_is_coming()
        for jobs, what in self._rounds():
            self.session.tally.say(what)
            train(jobs, lambda: self.ledger.write(self.root))
        self.ledger.write(self.root)
        if self.wants_report:
            with self.session.tally.busy("drawing the report"):
                # polars: only now, since a process that has it must not be forked
                from lowrank_bench.study.conclude import conclude
            page = conclude(self.root, self.entries[0].job, self.session.tally.console)
            self.session.tally.say(str(page))

    def _rounds(self) -> Iterator[tuple[list[Job], str]]:
        number = 1
        while jobs := self._next_trials():
            yield jobs, f"tuning, round {number}"
            number += 1
        self._select()
        if finals := self._finals():
            yield finals, f"the selected settings on {len(self.ledger.rules.fresh_seeds)} new seeds"
        if twice := self._duplicates():
            yield twice, "the same again, for the noise floor"

    # Tuning

    def _next_trials(self) -> list[Job]:
        """The jobs of one round: what each arm's search asks for now."""
        asked = [(entry, s) for entry in self.entries for s in self._asked(entry)]
        seeds = self.ledger.rules.tuning_seeds
        words = [
            self._words(entry, setting, seed, "run.test=false")
            for entry, setting in asked
            for seed in seeds
        ]
        jobs = self._composed(words)
        for i, (entry, setting) in enumerate(asked):
            own = jobs[i * len(seeds) : (i + 1) * len(seeds)]
            runs = {s: job.identity.fingerprint for s, job in zip(seeds, own, strict=True)}
            self._check_new(entry, setting, runs)
            entry.arm.trials.append(Trial(setting, runs))
            self._jobs[entry.arm.name].append(own)
        return jobs

    @staticmethod
    def _check_new(entry: Entry, setting: Setting, runs: dict[int, str]) -> None:
        """A rate or knob that the method's config does not follow tunes nothing."""
        for trial in entry.arm.trials:
            if set(trial.runs.values()) & set(runs.values()):
                raise ConfigError(
                    f"method.optimizer.lr: {entry.arm.name} trains the same with {trial.setting} "
                    f"and with {setting}; a study tunes by lr and by study.knobs, which the "
                    "method's config must follow"
                )

    def _asked(self, entry: Entry) -> list[Setting]:
        rules = self.ledger.rules
        space, trials = space_of(rules, entry.recipe), self._scored(entry)
        if rules.search == "optuna":
            name = entry.arm.name
            return optuna_search.next_settings(space, trials, rules.trials, name=name)
        return search.next_settings(space, trials, rules.trials)

    def _scored(self, entry: Entry) -> list[tuple[Setting, float | None]]:
        """Each trial with its mean over the tuning seeds, more being better."""
        jobs = self._jobs[entry.arm.name]
        return [
            (trial.setting, self._score([job.store.record(job.identity) for job in own]))
            for trial, own in zip(entry.arm.trials, jobs, strict=True)
        ]

    def _score(self, records: Sequence[RunRecord | None]) -> float | None:
        """None unless every seed finished: a setting that diverges on one is no good one."""
        finished = [r for r in records if r is not None and r.status == "finished"]
        if len(finished) < len(records):
            return None
        found = [r.metrics["selected"] for r in finished]
        if self.ledger.metric is None:
            is_language = found[0].get("val_perplexity") is not None
            self.ledger.metric = "loss" if is_language else "accuracy"
        told = [metrics.get(f"val_{self.ledger.metric}") for metrics in found]
        values = [value for value in told if value is not None]
        if len(values) < len(told):
            raise ConfigError(
                f"study.metric={self.ledger.metric}: was not measured on validation data; "
                "a study tunes on them"
            )
        return self.ledger.sign * sum(values) / len(values)

    def _select(self) -> None:
        searched: dict[str, tuple[Space, Scored]] = {}
        for entry in self.entries:
            trials = self._scored(entry)
            entry.arm.selected = search.best(trials)
            searched[entry.arm.name] = (space_of(self.ledger.rules, entry.recipe), trials)
        if self.ledger.rules.search == "optuna":
            optuna_search.write_journal(self.root, searched)

    # Fresh seeds

    def _finals(self) -> list[Job]:
        chosen = [entry for entry in self.entries if entry.arm.selected is not None]
        points = [(entry, seed) for entry in chosen for seed in self.ledger.rules.fresh_seeds]
        jobs = self._composed(
            [self._words(e, self._setting(e), seed, "run.test=true") for e, seed in points]
        )
        for (entry, seed), job in zip(points, jobs, strict=True):
            entry.arm.runs[seed] = job.identity.fingerprint
        return jobs

    def _duplicates(self) -> list[Job]:
        rules = self.ledger.rules
        chosen = [entry for entry in self.entries if entry.arm.selected is not None]
        count, last = min(rules.duplicates, len(chosen)), len(chosen) - 1
        # from the first to the last, since what is nobody's noise may be another's
        places = sorted({round(i * last / max(1, count - 1)) for i in range(count)})
        chosen, seed = [chosen[i] for i in places], rules.fresh_seeds[0]
        self.ledger.duplicates = {entry.arm.name: seed for entry in chosen}
        apart = f"run.dir={_quoted(self.root / DUPLICATES)}"
        return self._composed(
            [self._words(e, self._setting(e), seed, "run.test=true", apart) for e in chosen]
        )

    @staticmethod
    def _setting(entry: Entry) -> Setting:
        assert entry.arm.selected is not None
        return entry.arm.trials[entry.arm.selected].setting

    # Common to all

    @staticmethod
    def _words(entry: Entry, setting: Setting, seed: int, *more: str) -> list[str]:
        chosen = [f"{key}={value}" for key, value in setting.items()]
        return [*entry.point, *chosen, f"seed={seed}", *more]

    def _composed(self, words: list[list[str]]) -> list[Job]:
        return [Job(cfg, point) for cfg, point in zip(self.compose(words), words, strict=True)]

    def _check_folder(self) -> None:
        try:
            previous = Ledger.read(self.root)
        except FileNotFoundError:
            return
        if previous.control_hash != self.ledger.control_hash:
            raise ConfigError(
                f"run.dir={self.root}: {FILE} there is of a study with another control; "
                "name another folder"
            )
        self.ledger.go_on_from(previous)

    def _check_knobs(self) -> None:
        """They are first needed when the first round is over, which is late for a mistake."""
        words = [
            self._words(entry, {LR: space.centre, key: value}, self.ledger.rules.tuning_seeds[0])
            for entry in self.entries
            for space in [space_of(self.ledger.rules, entry.recipe)]
            for key, values in space.knobs.items()
            for value in values
        ]
        for job in self._composed(words):
            check(job.cfg)

    def _say_what_is_coming(self) -> None:
        rules, say = self.ledger.rules, self.session.tally.say
        arms, pairs = len(self.entries), len(self.ledger.comparisons())
        tuning, fresh = arms * rules.trials * len(rules.tuning_seeds), len(rules.fresh_seeds)
        self.session.tally.promise(tuning + arms * fresh + min(arms, rules.duplicates))
        say(
            f"study {self.ledger.name}: {plural(arms, 'arm')}; {plural(rules.trials, 'trial')} on "
            f"{plural(len(rules.tuning_seeds), 'seed')} each, {plural(tuning, 'run')}; then "
            f"{plural(fresh, 'fresh seed')} each, {plural(arms * fresh, 'run')}; "
            f"{plural(pairs, 'comparison')}"
        )
        if len(rules.tuning_seeds) < 2:
            say("one tuning seed: which setting is best may be luck")
        if (claim := what_cannot_be_claimed(fresh, pairs, rules.alpha)) is not None:
            say(claim)
        there = {entry.arm.method for entry in self.entries}
        if pairs == 0:
            wanted = ", ".join(rules.references)
            say(f"nothing is compared: none of {', '.join(sorted(there))} is held against {wanted}")


def _quoted(path: Path) -> str:
    text = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"
