package bench

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"time"

	"crayon/internal/fault"
	"crayon/internal/qa"
	"crayon/internal/strategy"
)

// Engine is a model with its pool, as the benchmark needs it.
type Engine interface {
	strategy.Engine

	// Directions are the questions' features, centred and of unit length.
	Directions(ctx context.Context, questions []string) ([][]float32, error)
}

// Options says what to run.
type Options struct {
	Selection
	Shots      []int    // k: examples a user customises from, each 0 to 64
	Draws      int      // of the examples, 1 to 3
	Strategies []string // nil for the short list, or with Full for all that the engine can score
	Full       bool
	Prior      *strategy.Prior // what other users' tasks taught; nil: what is part of the program
	Budget     time.Duration   // that a user's `chosen` may take
	Resamples  int             // of the bootstrap
	Provenance Provenance      // what the pool was trained on
	Digests    map[string]string
	Device     string    // the accelerator that scores, in words; "" for the processor
	Scores     bool      // keep every choice's score in the sheets
	Generate   bool      // also score the greedy answer, as far as the engine speaks
	Elsewhere  []Dialog  // chat to measure the customised model on; nil: none
	Memory     *Memory   // what the model said before, and what it says now; nil: none
	Dump       io.Writer // gets the scored rows' features and scores, a strategy.Observed a line; nil: nothing
	Resume     string    // a folder that keeps finished users, so that a run that was stopped goes on; "": none
	Progress   func(Progress)

	// Contamination looks for the scored rows among those that the pool was
	// trained on and those that the user gives; Full does so too.
	Contamination bool
	Trained       *qa.Training // the rows that the pool was trained on, as far as they are here; nil: none
	Untold        []string     // what of the training rows is not known, in words
}

// DefaultOptions are one draw of 16 examples, 70 scored rows a user, 20 s to
// choose a strategy, 1000 resamples.
func DefaultOptions() Options {
	return Options{Selection: Selection{Rows: defaultRows, Seed: 1}, Shots: []int{defaultShots}, Draws: 1,
		Budget: 20 * time.Second, Resamples: 1000}
}

func (o *Options) validate() error {
	fail := func(format string, args ...any) error {
		return &fault.Error{Op: "check benchmark options", Err: fmt.Errorf(format, args...), Exit: fault.ExitUsage}
	}
	for i, k := range o.Shots {
		if k < 0 || k > MaxExamples {
			return fail("shots is %d, not 0 to %d", k, MaxExamples)
		}
		if slices.Contains(o.Shots[:i], k) {
			return fail("shots has %d twice", k)
		}
	}
	switch {
	case len(o.Shots) == 0:
		return fail("shots is empty")
	case o.Draws < 1 || o.Draws > MaxDraws:
		return fail("seeds is %d, not 1 to %d", o.Draws, MaxDraws)
	case o.Rows < 1 || o.Rows > 1<<20:
		return fail("rows is %d, not 1 or more", o.Rows)
	case o.Users < 0:
		return fail("users is %d, below 0", o.Users)
	case o.Budget <= 0:
		return fail("the budget a user is %v, not above 0", o.Budget)
	case o.Resamples < 100 || o.Resamples > 1e6:
		return fail("resamples is %d, not 100 to 1000000", o.Resamples)
	}
	return nil
}

// Progress is how far a run is: users by strategy, k and draw.
type Progress struct {
	Done, Total    int
	User, Strategy string // in work now
}

// Run scores every selected user with every strategy, in order, and returns
// the report and the sheets it is made from. It stops at the first error or
// when ctx ends; nothing is written.
func Run(ctx context.Context, d *qa.Data, e Engine, opt Options) (*Report, []Sheet, error) {
	if err := opt.validate(); err != nil {
		return nil, nil, err
	}
	run, notes, err := choose(opt.Strategies, opt.Full, e)
	if err != nil {
		return nil, nil, err
	}
	people, err := Users(ctx, d, opt.Selection, opt.Provenance)
	if err != nil {
		return nil, nil, err
	}
	if len(people.all) == 1 {
		i := slices.IndexFunc(run, func(m method) bool { return m.name == "swapped" })
		if i >= 0 && len(opt.Strategies) > 0 {
			return nil, nil, &fault.Error{Op: "choose strategies", Err: errors.New("swapped needs a second user"),
				Exit: fault.ExitUsage, Hint: "name a data folder with more users, or leave swapped out"}
		}
		if i >= 0 {
			notes = append(notes, "swapped left out: there is one user only")
			run = slices.Delete(run, i, i+1)
		}
	}
	memo := newMemo(e)
	if memo.disk = opt.Memory; memo.disk != nil {
		if memo.disk.closed && (opt.Generate || opt.Elsewhere != nil) {
			return nil, nil, memo.disk.lacks("texts that were generated")
		}
		notes = append(notes, "scores are kept in a memory: seconds are those of the model's passes when they were first made")
	}
	r := &runner{engine: e, opt: opt, people: people, run: run, memo: memo,
		directions: map[string][]float32{}, timing: map[string]*Timing{}, swaps: map[string]string{}}
	r.shared = r.memo.asEngine()
	r.progress.Total = len(people.Users) * len(run) * len(opt.Shots) * opt.Draws
	var sheets []Sheet
	for _, u := range people.Users {
		key, err := r.key(u)
		if err != nil {
			return nil, nil, err
		}
		p, err := r.kept(key)
		if err != nil {
			return nil, nil, err
		}
		if p == nil {
			done := r.progress.Done
			if p, err = r.user(ctx, u); err != nil {
				return nil, nil, err
			}
			if opt.Memory != nil {
				if err := opt.Memory.flush(); err != nil {
					return nil, nil, err
				}
			}
			p.Key, r.progress.Done = key, done
			if err := r.store(p); err != nil {
				return nil, nil, err
			}
		}
		if err := r.take(u, p); err != nil {
			return nil, nil, err
		}
		sheets = append(sheets, p.Sheets...)
	}
	if opt.Generate {
		free, err := r.freeTexts(ctx, d)
		if err != nil {
			return nil, nil, err
		}
		sheets = append(sheets, free...)
	}
	notes = append(notes, people.Notes...)
	if opt.Full || opt.Contamination {
		notes = append(notes, r.contaminated(sheets)...)
	}
	rep := r.report(sheets, append(notes, r.notes()...))
	rep.Notes = append(rep.Notes, rep.Contamination.note()...)
	return rep, sheets, nil
}

// runner is one run in work.
type runner struct {
	engine     Engine
	memo       *memo
	shared     strategy.Engine // the memo
	opt        Options
	people     *Population
	run        []method
	directions map[string][]float32 // of questions, of this user and of swapped ones
	swaps      map[string]string    // user -> whose blend `swapped` used
	timing     map[string]*Timing
	progress   Progress
	blind      int // bouts in which majority guesses
	elsewhere  elsewhere
	samples    []Sample
	part       *part // of the user in work
}

// user scores one user with every strategy, at every k and draw.
func (r *runner) user(ctx context.Context, u *User) (*part, error) {
	r.memo.forget()
	clear(r.directions)
	r.part = &part{Timing: map[string]*Timing{}}
	rows, err := r.rows(ctx, u.scored, false)
	if err != nil {
		return nil, err
	}
	for _, k := range r.opt.Shots {
		for draw := range r.opt.Draws {
			t, err := r.taskOf(ctx, u, k, draw)
			if err != nil {
				return nil, err
			}
			b := &bout{user: u, k: k, draw: draw, task: t, rows: rows}
			sheet := u.sheet(k, draw, r.engine.Pool().Made.Seed)
			for _, m := range r.run {
				if err := ctx.Err(); err != nil {
					return nil, err
				}
				if err := r.method(ctx, m, b, &sheet); err != nil {
					return nil, &fault.Error{Op: "score " + m.name + " of", Path: u.Name, Err: err}
				}
			}
			if r.opt.Dump != nil {
				if err := r.dump(ctx, b); err != nil {
					return nil, &fault.Error{Op: "write features of", Path: u.Name, Err: err}
				}
				if err := r.rehearse(ctx, b); err != nil {
					return nil, &fault.Error{Op: "remember scores of", Path: u.Name, Err: err}
				}
			}
			if k == headline(r.opt.Shots) && draw == 0 {
				r.part.Samples = samplesOf(u, &sheet)
			}
			r.part.Sheets = append(r.part.Sheets, sheet)
		}
	}
	return r.part, nil
}

// sheet is a user's sheet before anything is scored.
func (u *User) sheet(k, draw int, train uint64) Sheet {
	s := Sheet{User: u.Name, Dataset: u.Dataset, Group: u.Group, Fold: u.Fold, Constant: u.Constant, Train: train,
		Shots: k, Draw: draw, Picks: map[string][]int{}}
	for i := range u.scored {
		s.IDs = append(s.IDs, u.scored[i].ID)
		s.Choices = append(s.Choices, len(u.scored[i].Choices))
		s.Answers = append(s.Answers, u.scored[i].Answer)
	}
	return s
}

// taskOf is what a user gives at one number of examples and draw.
func (r *runner) taskOf(ctx context.Context, u *User, k, draw int) (strategy.Task, error) {
	rows, err := r.rows(ctx, u.Examples(k, draw), true)
	return strategy.Task{Labels: u.Labels, Rows: rows, Budget: r.opt.Budget, Prior: r.opt.Prior}, err
}

// rows are data rows as strategies see them; the gold is told of examples only.
func (r *runner) rows(ctx context.Context, from []qa.Row, golds bool) ([]strategy.Row, error) {
	var unknown []string
	for i := range from {
		if r.directions[from[i].Question] == nil && !slices.Contains(unknown, from[i].Question) {
			unknown = append(unknown, from[i].Question)
		}
	}
	if len(unknown) > 0 {
		got, err := r.directionsOf(ctx, unknown)
		if err != nil {
			return nil, err
		}
		for i, q := range unknown {
			r.directions[q] = got[i]
		}
	}
	out := make([]strategy.Row, len(from))
	for i := range from {
		f := &from[i]
		out[i] = strategy.Row{Question: f.Question, Context: f.Context, Candidates: f.Choices, Gold: -1, Direction: r.directions[f.Question]}
		if golds {
			out[i].Gold = f.Answer
		}
	}
	return out, nil
}

// directionsOf are the engine's, or what the memory has of them.
func (r *runner) directionsOf(ctx context.Context, questions []string) ([][]float32, error) {
	if m := r.opt.Memory; m != nil {
		return m.directions(ctx, r.engine, questions)
	}
	return r.engine.Directions(ctx, questions)
}

// method scores one bout with one method, into the sheet.
func (r *runner) method(ctx context.Context, m method, b *bout, sheet *Sheet) error {
	r.progress.User, r.progress.Strategy = b.user.Name, m.name
	r.show()
	var res result
	took, err := r.memo.charged(func() (err error) {
		res, err = m.run(ctx, r, b)
		return err
	})
	if err != nil {
		return err
	}
	if res.picks == nil {
		if res.picks, err = bestOf(res.scores, b.rows); err != nil {
			return err
		}
	}
	sheet.Picks[m.name] = res.picks
	b.observe(m.name, res.scores)
	if m.name == majority && !slices.ContainsFunc(res.picks, func(p int) bool { return p != guess }) {
		r.part.Blind++
	}
	if res.chosen != "" {
		if sheet.Chosen == nil {
			sheet.Chosen = map[string]string{}
		}
		sheet.Chosen[m.name] = res.chosen
	}
	if r.opt.Scores && res.scores != nil {
		if sheet.Scores == nil {
			sheet.Scores = map[string][][]float64{}
		}
		sheet.Scores[m.name] = shortened(res.scores)
	}
	r.took(m.name, took, len(b.rows), res.fit)
	if err := r.log(ctx, m.name, res, b, sheet); err != nil {
		return err
	}
	if res.plan != nil {
		if r.opt.Generate {
			if err := r.say(ctx, m.name, res, b, sheet); err != nil {
				return err
			}
		}
		if err := r.listen(ctx, m.name, res, b, sheet); err != nil {
			return err
		}
	}
	r.progress.Done++
	r.show()
	return nil
}

func (r *runner) show() {
	if r.opt.Progress != nil {
		r.opt.Progress(r.progress)
	}
}

func shortened(scores [][]float64) [][]float64 {
	out := make([][]float64, len(scores))
	for i := range scores {
		out[i] = make([]float64, len(scores[i]))
		for j, x := range scores[i] {
			out[i][j] = round(x, 4)
		}
	}
	return out
}

// bestOf is by row the index of the highest score, of equals the first.
func bestOf(scores [][]float64, rows []strategy.Row) ([]int, error) {
	if len(scores) != len(rows) {
		return nil, fmt.Errorf("%d of %d rows were scored", len(scores), len(rows))
	}
	picks := make([]int, len(rows))
	for i, of := range scores {
		if len(of) != len(rows[i].Candidates) {
			return nil, fmt.Errorf("%d scores for %d choices", len(of), len(rows[i].Candidates))
		}
		for j, x := range of {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				return nil, fmt.Errorf("score %v of choice %d", x, j)
			}
			if x > of[picks[i]] {
				picks[i] = j
			}
		}
	}
	return picks, nil
}

// took adds a bout's cost to a strategy's; fit is the part for customising.
func (r *runner) took(name string, whole cost, rows int, fit *cost) {
	t := r.part.Timing[name]
	if t == nil {
		t = &Timing{}
		r.part.Timing[name] = t
	}
	if fit != nil {
		t.Fits++
		t.FitSeconds += fit.seconds
		t.FitTokens += fit.tokens
		t.SlowestFit = max(t.SlowestFit, round(fit.seconds, 3))
		whole.seconds -= fit.seconds
		whole.tokens -= fit.tokens
	}
	t.Queries += rows
	t.QuerySeconds += max(0, whole.seconds)
	t.QueryTokens += max(0, whole.tokens)
}

func (r *runner) notes() []string {
	var notes []string
	if r.blind > 0 {
		notes = append(notes, fmt.Sprintf("majority is chance in %d of %d cases: choices differ by row, or there are no examples",
			r.blind, len(r.people.Users)*len(r.opt.Shots)*r.opt.Draws))
	}
	for _, k := range r.opt.Shots {
		fewer := 0
		for _, u := range r.people.Users {
			if len(u.reserve) < k {
				fewer++
			}
		}
		if fewer > 0 {
			notes = append(notes, fmt.Sprintf("%d users have fewer than %d examples", fewer, k))
		}
	}
	return notes
}

// dataDigest is sha256, in hex, over all that was shown and scored.
func (r *runner) dataDigest() string {
	h := sha256.New()
	most := slices.Max(r.opt.Shots)
	for _, u := range r.people.Users {
		for _, rows := range [][]qa.Row{u.Examples(most, 0), u.scored} {
			for i := range rows {
				content := rows[i].Content()
				key := qa.Hash(0, u.Name, rows[i].ID, hex.EncodeToString(content[:]), strconv.Quote(rows[i].Gold()))
				h.Write(key[:])
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
