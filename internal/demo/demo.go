// Package demo measures what the example files are for: three users' examples
// become three customisations, which answer questions they have not seen, and
// queries that belong to none of them are told apart.
package demo

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"crayon"
	"crayon/internal/fault"
)

// Report is everything measured in one run.
type Report struct {
	Model   string  `json:"model"`
	Pool    string  `json:"pool"`
	Threads int     `json:"threads"`
	Users   []*User `json:"users"`
	Routing Routing `json:"routing"`
	Seconds float64 `json:"seconds"`
}

// User is one example file and what came of it.
type User struct {
	Name          string                `json:"name"`
	Customisation *crayon.Customisation `json:"-"`
	Shares        []crayon.Share        `json:"shares"`
	Strategy      string                `json:"strategy"`
	Examples      int                   `json:"examples"`
	Labels        []string              `json:"labels,omitempty"`
	Residual      float64               `json:"residual"`
	Customise     float64               `json:"customise_seconds"`
	SwappedWith   string                `json:"swapped_with"` // whose weights `swapped` has; labels and prompt stay this user's
	Rows          []Row                 `json:"rows"`
	Score         Score                 `json:"score"`
	Answering     float64               `json:"answer_seconds"` // all rows, three ways
	Proof         *crayon.Proof         `json:"proof"`
}

// Score is how many rows were answered right, of Rows.
type Score struct {
	Base       int `json:"base"`
	Customised int `json:"customised"`
	Swapped    int `json:"swapped"`
	Rows       int `json:"rows"`
}

// Row is one unseen question with the answer each way gave.
type Row struct {
	Question   string `json:"question"`
	Right      string `json:"right"`
	Base       string `json:"base"`
	Customised string `json:"customised"`
	Swapped    string `json:"swapped"`
}

// Routing is how queries in and out of scope were told apart.
type Routing struct {
	In        []Routed `json:"in_scope"`
	Out       []Routed `json:"out_of_scope"`
	InDevice  int      `json:"in_scope_to_device"`
	OutServer int      `json:"out_of_scope_to_server"`
	Seconds   float64  `json:"seconds"`
}

// Routed is one query and where it goes when a server is set.
type Routed struct {
	Query    string          `json:"query"`
	Asked    string          `json:"asked"` // the customisation
	Decision crayon.Decision `json:"decision"`
}

// Watcher hears of each part as it is finished; Working, how far a part is.
type Watcher interface {
	Working(what string, done, total int)
	Customised(*User)
	Answered(*User)
	Proved(*User)
	Routed(*Routing)
}

// labelStrategy is fitted where the examples have a label set.
const labelStrategy = "stack"

// Files of the examples folder that are no user's.
const (
	unseenDir  = "unseen"
	inScope    = "in-scope.csv"
	outOfScope = "out-of-scope.csv"
)

// Run measures every dir/NAME.csv with its dir/unseen/NAME.csv, and the routing
// of the queries beside those. The customisations are stored under NAME.
func Run(ctx context.Context, c *crayon.Crayon, dir string, w Watcher) (*Report, error) {
	start := time.Now()
	users, err := customise(ctx, c, dir, w)
	if err != nil {
		return nil, err
	}
	r := &Report{Model: c.Pool().Base.Name, Pool: c.Pool().Name, Threads: c.Threads(), Users: users}
	for i, u := range users {
		other := users[(i+1)%len(users)]
		if err := u.answer(ctx, c, dir, other, w); err != nil {
			return nil, err
		}
		if err := u.prove(ctx, c, w); err != nil {
			return nil, err
		}
	}
	if err := r.route(ctx, c, dir, w); err != nil {
		return nil, err
	}
	r.Seconds = time.Since(start).Seconds()
	return r, nil
}

// customise makes every user's customisation, so that each can be swapped with
// the next one's.
func customise(ctx context.Context, c *crayon.Crayon, dir string, w Watcher) ([]*User, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.csv"))
	if err != nil || len(files) < 2 {
		return nil, &fault.Error{Op: "read examples", Path: dir, Err: fmt.Errorf("%d example files, two at least are needed", len(files)),
			Hint: "run it in the project's folder, or name its examples folder: crayon demo DIR", Exit: fault.ExitUsage}
	}
	slices.Sort(files)
	var users []*User
	for _, file := range files {
		set, err := crayon.ReadExamples(file)
		if err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(filepath.Base(file), ".csv")
		custom, err := c.Customize(ctx, name, set, crayon.CustomizeOptions{})
		if err != nil {
			return nil, err
		}
		if len(custom.Labels) > 0 {
			// What the search comes to for label tasks, without the search.
			if custom, err = c.Improve(ctx, custom, crayon.CustomizeOptions{Strategy: labelStrategy},
				func(done, total int) { w.Working(name+": strategy", done, total) }); err != nil {
				return nil, err
			}
		}
		users = append(users, &User{
			Name: name, Customisation: custom, Strategy: custom.Strategy, Shares: crayon.Shares(c.Pool(), custom), Examples: len(custom.Examples),
			Labels: custom.Labels, Residual: custom.Residual, Customise: custom.Took,
		})
	}
	return users, nil
}

func (u *User) answer(ctx context.Context, c *crayon.Crayon, dir string, other *User, w Watcher) error {
	start := time.Now()
	w.Customised(u)
	u.SwappedWith = other.Name
	rows, err := crayon.ReadExamples(filepath.Join(dir, unseenDir, u.Name+".csv"))
	if err != nil {
		return err
	}
	scored, err := c.Evaluate(ctx, u.Customisation, rows, []*crayon.Customisation{nil, u.Customisation, other.Customisation},
		func(done, total int) { w.Working(u.Name+": unseen questions", done, total) })
	if err != nil {
		return err
	}
	count := func(right bool, n *int) {
		if right {
			*n++
		}
	}
	for _, s := range scored {
		u.Rows = append(u.Rows, Row{Question: s.Question, Right: s.Right, Base: s.Given[0], Customised: s.Given[1], Swapped: s.Given[2]})
		count(s.Given[0] == s.Right, &u.Score.Base)
		count(s.Given[1] == s.Right, &u.Score.Customised)
		count(s.Given[2] == s.Right, &u.Score.Swapped)
	}
	u.Score.Rows = len(u.Rows)
	u.Answering = time.Since(start).Seconds()
	w.Answered(u)
	return nil
}

func (u *User) prove(ctx context.Context, c *crayon.Crayon, w Watcher) error {
	p, err := c.Prove(ctx, u.Customisation, func(done, total int) { w.Working(u.Name+": proof", done, total) })
	if err != nil {
		return err
	}
	if err := c.KeepProof(u.Customisation, p); err != nil {
		return err
	}
	u.Proof = p
	w.Proved(u)
	return nil
}

// route asks the in-scope queries of the customisation they belong to, and each
// other one of the customisation it is most like: the hardest to tell apart.
func (r *Report) route(ctx context.Context, c *crayon.Crayon, dir string, w Watcher) error {
	start := time.Now()
	in, err := crayon.ReadExamples(filepath.Join(dir, unseenDir, inScope))
	if err != nil {
		return err
	}
	out, err := crayon.ReadExamples(filepath.Join(dir, unseenDir, outOfScope))
	if err != nil {
		return err
	}
	rt := &r.Routing
	total := len(in.Examples) + len(out.Examples)
	for _, e := range in.Examples {
		i := slices.IndexFunc(r.Users, func(u *User) bool { return u.Name == e.Answer })
		if i < 0 {
			return &fault.Error{Op: "read examples", Path: fmt.Sprintf("%s:%d", in.Source, e.Line), Err: fmt.Errorf("answer %q names no example file", e.Answer), Exit: fault.ExitUsage}
		}
		if err := rt.add(ctx, c, r.Users[i], e.Question, &rt.In); err != nil {
			return err
		}
		w.Working("routing", len(rt.In), total)
	}
	for _, e := range out.Examples {
		nearest, most := r.Users[0], float32(-2)
		for _, u := range r.Users {
			x, err := c.Nearness(ctx, u.Customisation, e.Question)
			if err != nil {
				return err
			}
			if x > most {
				nearest, most = u, x
			}
		}
		if err := rt.add(ctx, c, nearest, e.Question, &rt.Out); err != nil {
			return err
		}
		w.Working("routing", len(rt.In)+len(rt.Out), total)
	}
	for _, x := range rt.In {
		if x.Decision.Route == crayon.OnDevice {
			rt.InDevice++
		}
	}
	for _, x := range rt.Out {
		if x.Decision.Route == crayon.OnServer {
			rt.OutServer++
		}
	}
	rt.Seconds = time.Since(start).Seconds()
	w.Routed(rt)
	return nil
}

func (rt *Routing) add(ctx context.Context, c *crayon.Crayon, u *User, query string, list *[]Routed) error {
	d, err := c.Session(u.Customisation).Explain(ctx, crayon.Question{Text: query})
	if err != nil {
		return err
	}
	if d, err = crayon.IfThereWere(d); err != nil {
		return err
	}
	*list = append(*list, Routed{Query: query, Asked: u.Name, Decision: d})
	return nil
}
