package peer

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"crayon/internal/fault"
)

// Options of Race.
type Options struct {
	Rows     []string // names of Rows, and FootprintName; none means all
	Threads  int      // of both engines
	Repeats  int      // at least 5
	Library  string   // folder with llama.cpp's libraries
	Command  []string // the command line of a child process
	Crayon   string   // the program crayon, for the footprint
	Examples string   // folder of example files, for the footprint
	Pool     string   // file of the pool that customisations are of; "" is the one within Crayon
	Log      io.Writer
}

// Race runs the rows and gives the report. It must run on a goroutine locked to
// its thread (runtime.LockOSThread). Rows that were never steady are no error
// here: see Report.Unsteady. On an error after some rows the report has those.
func Race(ctx context.Context, o Options) (*Report, error) {
	rows, footprint, err := pick(o.Rows)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "crayon-peer-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	r := &race{Options: o, files: files{dir: dir, lib: o.Library, threads: o.Threads}, children: map[string]*process{}, report: newReport(o)}
	defer r.close()
	plans, err := r.plan(rows)
	if err != nil {
		return nil, err
	}
	if footprint {
		if err := r.ready(); err != nil {
			return nil, err
		}
	}
	stopped := func(what string, err error) (*Report, error) {
		if ctx.Err() != nil { // the children were killed, so err is only that
			err = ctx.Err()
		}
		err = &fault.Error{Op: "race", Path: what, Err: err}
		if len(r.report.Rows) == 0 {
			return nil, err
		}
		slices.Sort(r.report.Engines)
		return r.report, err
	}
	for i, p := range plans {
		if err := r.run(ctx, p); err != nil {
			return stopped(p.row.Name, err)
		}
		r.release(plans[i+1:])
	}
	if footprint {
		fmt.Fprintln(o.Log, FootprintName)
		if r.report.Footprint, err = r.footprint(ctx); err != nil {
			return stopped(FootprintName, err)
		}
	}
	slices.Sort(r.report.Engines)
	return r.report, nil
}

func pick(names []string) (rows []Row, footprint bool, err error) {
	if len(names) == 0 {
		return Rows, true, nil
	}
	for _, name := range names {
		if name == FootprintName {
			footprint = true
			continue
		}
		i := slices.IndexFunc(Rows, func(r Row) bool { return r.Name == name })
		if i < 0 {
			return nil, false, &fault.Error{Op: "race", Path: name, Err: fmt.Errorf("there is no such row"), Hint: "peer -h", Exit: fault.ExitUsage}
		}
		rows = append(rows, Rows[i])
	}
	return rows, footprint, nil
}

type race struct {
	Options
	files    files
	children map[string]*process // by setup
	ceilings *ceilings           // at its first use
	report   *Report
}

func (r *race) close() {
	for _, p := range r.children {
		p.close()
	}
	if r.ceilings != nil {
		r.ceilings.close()
	}
}

// plan is a row with the setups of its sides: Crayon, then the contenders.
type plan struct {
	row    Row
	setups []Setup
}

// plan makes the files that the rows need, so that a row that cannot run is
// known before any is timed.
func (r *race) plan(rows []Row) ([]plan, error) {
	var plans []plan
	for _, row := range rows {
		if row.Work.Kind == Score {
			path, err := r.files.model(row.Model, SameFile)
			if err != nil {
				return nil, err
			}
			if row.Work.Asks, err = asks(path); err != nil {
				return nil, err
			}
		}
		p := plan{row: row}
		for _, c := range append([]Contender{{Engine: Crayon}}, row.Contenders...) {
			s, err := r.setup(row, c)
			if err != nil {
				return nil, err
			}
			p.setups = append(p.setups, s)
		}
		plans = append(plans, p)
	}
	return plans, nil
}

func (r *race) setup(row Row, c Contender) (Setup, error) {
	s := Setup{Engine: c.Engine, Threads: r.Threads}
	merged := false
	if c.Engine == "" {
		s.Engine, s.Library, merged = Llama, r.Library, row.Merged
		for _, a := range row.Work.Asks {
			s.Sequences = max(s.Sequences, 1+len(a.Choices))
		}
	}
	var err error
	if s.Model, err = r.files.model(row.Model, c.File); err != nil {
		return s, err
	}
	if row.Adapters != nil {
		s.Adapters, s.Scales, err = r.files.adapters(row.Model, *row.Adapters, merged, c.AdapterType)
	}
	if row.Blends > 0 {
		s.Blends, s.Pool = row.Blends, r.Pool
	}
	return s, err
}

// run measures a row and puts it into the report.
func (r *race) run(ctx context.Context, p plan) error {
	fmt.Fprintln(r.Log, p.row.Name)
	var all []entrant
	for i, s := range p.setups {
		child, err := r.child(ctx, s)
		if err != nil {
			return err
		}
		w := p.row.Work
		if i > 0 {
			w = p.row.Contenders[i-1].work(w)
		}
		all = append(all, entrant{child, w})
	}
	f := field{mine: all[0], others: all[1:]}
	if p.row.Ceiling != "" {
		if r.ceilings == nil {
			r.ceilings = newCeilings(r.Threads)
		}
		f.loop = func() float64 { return r.ceilings.loop(p.row.Ceiling) }
		f.cost = r.children[key(p.setups[0])].ready.Size.cost(p.row.Ceiling)
	}
	m, err := measure(ctx, p.row, r.Repeats, f, func(m Measurement) {
		fmt.Fprintf(r.Log, "  %v   again, as the ratios spread\n", m)
	})
	if err != nil {
		return err
	}
	r.report.Rows = append(r.report.Rows, m)
	fmt.Fprintf(r.Log, "  %v\n", m)
	return nil
}

func key(s Setup) string { return fmt.Sprintf("%+v", s) }

// child is the process of a setup, started at its first use.
func (r *race) child(ctx context.Context, s Setup) (*process, error) {
	if p := r.children[key(s)]; p != nil {
		return p, nil
	}
	p, err := start(ctx, r.Command, s, r.Log)
	if err != nil {
		return nil, err
	}
	r.children[key(s)] = p
	r.report.engine(p.ready.Engine)
	return p, nil
}

// release ends the children that none of the coming rows needs.
func (r *race) release(coming []plan) {
	for k, p := range r.children {
		if !slices.ContainsFunc(coming, func(c plan) bool {
			return slices.ContainsFunc(c.setups, func(s Setup) bool { return key(s) == k })
		}) {
			p.close()
			delete(r.children, k)
		}
	}
}
