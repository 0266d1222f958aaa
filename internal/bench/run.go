package bench

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"crayon/internal/fault"
	"crayon/internal/qa"
)

// Options says what to run.
type Options struct {
	Selection
	Shots      int        // k: examples a user customises from, 0 to 64
	Strategies []string   // nil for all that the engine can score
	Resamples  int        // of the bootstrap
	Provenance Provenance // what the pool was trained on
	Digests    map[string]string
	Scores     bool // keep every choice's score in the records
	Progress   func(Progress)
}

// DefaultOptions are 16 examples, 70 scored rows a user, 1000 resamples.
func DefaultOptions() Options {
	return Options{Selection: Selection{Rows: defaultRows, Seed: 1}, Shots: defaultShots, Resamples: 1000}
}

func (o *Options) validate() error {
	fail := func(format string, args ...any) error {
		return &fault.Error{Op: "check benchmark options", Err: fmt.Errorf(format, args...), Exit: fault.ExitUsage}
	}
	switch {
	case o.Shots < 0 || o.Shots > MaxExamples:
		return fail("shots is %d, not 0 to %d", o.Shots, MaxExamples)
	case o.Rows < 1 || o.Rows > 1<<20:
		return fail("rows is %d, not 1 or more", o.Rows)
	case o.Users < 0:
		return fail("users is %d, below 0", o.Users)
	case o.Resamples < 100 || o.Resamples > 1e6:
		return fail("resamples is %d, not 100 to 1000000", o.Resamples)
	}
	return nil
}

// Progress is how far a run is: rows scored, over all strategies.
type Progress struct {
	Done, Total    int
	User, Strategy string // in work now
}

// Run scores every selected user with every strategy, in order, and returns
// the report and the records it is made from. It stops at the first error or
// when ctx ends; nothing is written.
func Run(ctx context.Context, d *qa.Data, e Engine, opt Options) (*Report, []Record, error) {
	if err := opt.validate(); err != nil {
		return nil, nil, err
	}
	run, notes, err := choose(opt.Strategies, e.Modes())
	if err != nil {
		return nil, nil, err
	}
	people, err := Users(ctx, d, opt.Selection, opt.Provenance)
	if err != nil {
		return nil, nil, err
	}
	if len(people.all) == 1 {
		i := slices.IndexFunc(run, func(s strategy) bool { return s.swap })
		if i >= 0 && len(opt.Strategies) > 0 {
			return nil, nil, &fault.Error{Op: "choose strategies", Err: errors.New("swapped needs a second user"),
				Exit: fault.ExitUsage, Hint: "name a data folder with more users, or leave swapped out"}
		}
		if i >= 0 {
			notes = append(notes, "swapped left out: there is one user only")
			run = slices.Delete(run, i, i+1)
		}
	}
	r := &runner{engine: e, opt: opt, people: people, run: run,
		customs: map[*User]Customisation{}, timing: map[string]*Timing{}, swaps: map[string]string{}}
	for _, u := range people.Users {
		for _, s := range run {
			if s.mode != "" {
				r.progress.Total += len(u.scored)
			}
		}
	}
	var records []Record
	for _, u := range people.Users {
		recs, err := r.user(ctx, u)
		if err != nil {
			return nil, nil, err
		}
		records = append(records, recs...)
	}
	notes = append(notes, people.Notes...)
	return r.report(records, append(notes, r.notes()...)), records, nil
}

// runner is one run in work.
type runner struct {
	engine   Engine
	opt      Options
	people   *Population
	run      []strategy
	customs  map[*User]Customisation
	swaps    map[string]string // user -> whose customisation `swapped` used
	timing   map[string]*Timing
	progress Progress
	noLabels int // users for whom majority is chance
}

// user scores one user with every strategy.
func (r *runner) user(ctx context.Context, u *User) ([]Record, error) {
	records := make([]Record, len(u.scored))
	rows := make([]qa.Row, len(u.scored)) // as the engine sees them, without the gold
	for i, row := range u.scored {
		records[i] = Record{Dataset: u.Dataset, User: u.Name, Subject: row.Subject, Group: u.Group, ID: row.ID,
			Constant: u.Constant, Choices: len(row.Choices), Answer: row.Answer, Picks: map[string]int{}}
		rows[i] = row
		rows[i].Answer = -1
	}
	for _, s := range r.run {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r.progress.User, r.progress.Strategy = u.Name, s.name
		var err error
		switch {
		case s.name == chance:
			for i := range records {
				records[i].Picks[chance] = guess
			}
		case s.name == majority:
			r.majority(u, records)
		default:
			err = r.score(ctx, u, s, rows, records)
		}
		if err != nil {
			return nil, &fault.Error{Op: "score " + s.name + " of", Path: u.Name, Err: err}
		}
	}
	return records, nil
}

// majority picks the examples' most frequent answer, of equals the first of
// the label set. Where the rows' choices differ no answer can be frequent, and
// without examples none is known: then it guesses.
func (r *runner) majority(u *User, records []Record) {
	best, count := "", 0
	for _, label := range u.Labels {
		n := 0
		for _, ex := range u.Examples(r.opt.Shots) {
			if ex.Gold() == label {
				n++
			}
		}
		if n > count {
			best, count = label, n
		}
	}
	if count == 0 {
		r.noLabels++
	}
	for i := range records {
		records[i].Picks[majority] = slices.Index(u.scored[i].Choices, best) // -1, a guess, when there is no best
	}
}

func (r *runner) score(ctx context.Context, u *User, s strategy, rows []qa.Row, records []Record) error {
	req := Request{Mode: s.mode, Labels: u.Labels, Rows: rows}
	if s.shots > 0 {
		req.Shots = u.Examples(min(s.shots, r.opt.Shots))
	}
	if s.mode == ModeBlend {
		from := u
		if s.swap {
			from = r.people.stranger(u, r.opt.Seed)
			r.swaps[u.Name] = from.Name
		}
		custom, err := r.customise(ctx, from)
		if err != nil {
			return err
		}
		req.Custom = custom
	}
	reported := 0
	step := func(n int) {
		n = max(0, min(n, len(rows)-reported))
		reported += n
		r.progress.Done += n
		if r.opt.Progress != nil {
			r.opt.Progress(r.progress)
		}
	}
	step(0)
	start := time.Now()
	scores, err := r.engine.Score(ctx, req, step)
	if err != nil {
		return err
	}
	r.took(s.name, time.Since(start), len(rows))
	step(len(rows) - reported)
	if len(scores) != len(rows) {
		return fmt.Errorf("the engine scored %d of %d rows", len(scores), len(rows))
	}
	for i, sc := range scores {
		pick, err := best(sc, len(rows[i].Choices))
		if err != nil {
			return fmt.Errorf("row %s: %w", rows[i].ID, err)
		}
		records[i].Picks[s.name] = pick
		if r.opt.Scores {
			if records[i].Scores == nil {
				records[i].Scores = map[string][]float64{}
			}
			short := make([]float64, len(sc))
			for c := range sc {
				short[c] = round(sc[c], 4)
			}
			records[i].Scores[s.name] = short
		}
	}
	return nil
}

// best is the index of the highest score, of equals the first.
func best(scores []float64, choices int) (int, error) {
	if len(scores) != choices {
		return 0, fmt.Errorf("%d scores for %d choices", len(scores), choices)
	}
	top := 0
	for i, s := range scores {
		if math.IsNaN(s) || math.IsInf(s, 0) {
			return 0, fmt.Errorf("score %v of choice %d", s, i)
		}
		if s > scores[top] {
			top = i
		}
	}
	return top, nil
}

// customise makes a user's customisation once.
func (r *runner) customise(ctx context.Context, u *User) (Customisation, error) {
	if c, ok := r.customs[u]; ok {
		return c, nil
	}
	start := time.Now()
	c, err := r.engine.Customise(ctx, u.Examples(r.opt.Shots), u.Labels)
	if err != nil {
		return nil, fmt.Errorf("customise %s: %w", u.Name, err)
	}
	r.took("customise", time.Since(start), 1)
	r.customs[u] = c
	return c, nil
}

func (r *runner) took(what string, d time.Duration, n int) {
	t := r.timing[what]
	if t == nil {
		t = &Timing{}
		r.timing[what] = t
	}
	t.Count += n
	t.Seconds += d.Seconds()
	t.Milliseconds = round(1000*t.Seconds/float64(t.Count), 3)
}

func (r *runner) notes() []string {
	var notes []string
	if r.noLabels > 0 {
		notes = append(notes, fmt.Sprintf("majority is chance for %d of %d users: their choices differ by row, or there are no examples",
			r.noLabels, len(r.people.Users)))
	}
	short := 0
	for _, u := range r.people.Users {
		if len(u.reserve) < r.opt.Shots {
			short++
		}
	}
	if short > 0 {
		notes = append(notes, fmt.Sprintf("%d users have fewer than %d examples", short, r.opt.Shots))
	}
	return notes
}

// dataDigest is sha256, in hex, over all that was shown and scored.
func (r *runner) dataDigest() string {
	h := sha256.New()
	for _, u := range r.people.Users {
		for _, rows := range [][]qa.Row{u.Examples(r.opt.Shots), u.scored} {
			for i := range rows {
				content := rows[i].Content()
				key := qa.Hash(0, u.Name, rows[i].ID, hex.EncodeToString(content[:]), strconv.Quote(rows[i].Gold()))
				h.Write(key[:])
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
