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
	Rows    []string // names of Rows; none means Usual
	Threads int      // of both engines
	Repeats int      // at least 5
	Library string   // folder with llama.cpp's libraries
	Command []string // the command line of a child process
	Log     io.Writer
}

// Race runs the rows and gives the report. It must run on a goroutine locked to
// its thread (runtime.LockOSThread). Rows that were never steady are no error
// here: see Report.Steady.
func Race(ctx context.Context, o Options) (*Report, error) {
	rows, err := pick(o.Rows)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "crayon-peer-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	r := &race{Options: o, files: files{dir: dir, lib: o.Library, threads: o.Threads}, children: map[string]*process{}}
	defer r.close()
	report := newReport(o)
	for _, row := range rows {
		m, err := r.row(ctx, row)
		if err != nil {
			if ctx.Err() != nil { // the children were killed, so err is only that
				err = ctx.Err()
			}
			return nil, &fault.Error{Op: "race", Path: row.Name, Err: err}
		}
		report.Rows = append(report.Rows, m)
		fmt.Fprintf(o.Log, "%-14s %6.3f   spread %4.1f %%   crayon %8.1f tokens/s   llama.cpp %8.1f tokens/s   %d x %d repeats\n",
			m.Name, m.Ratio, 100*m.Spread, m.CrayonTPS, m.PeerTPS, m.Attempts, len(m.Ratios))
	}
	var size Size
	for _, p := range r.children {
		if p.setup.Engine == "crayon" {
			size = p.ready.Size
		}
		if !slices.Contains(report.Engines, p.ready.Engine) {
			report.Engines = append(report.Engines, p.ready.Engine)
		}
	}
	slices.Sort(report.Engines)
	report.measurePeaks(size)
	return report, nil
}

func pick(names []string) ([]Row, error) {
	if len(names) == 0 {
		names = Usual
	}
	var rows []Row
	for _, name := range names {
		i := slices.IndexFunc(Rows, func(r Row) bool { return r.Name == name })
		if i < 0 {
			return nil, &fault.Error{Op: "race", Path: name, Err: fmt.Errorf("there is no such row"), Hint: "peer -h", Exit: fault.ExitUsage}
		}
		rows = append(rows, Rows[i])
	}
	return rows, nil
}

type race struct {
	Options
	files    files
	children map[string]*process // by setup
}

func (r *race) close() {
	for _, p := range r.children {
		p.close()
	}
}

func (r *race) row(ctx context.Context, row Row) (Measurement, error) {
	mine, err := r.setup("crayon", row, Contender{}, false)
	if err != nil {
		return Measurement{}, err
	}
	crayon, err := r.child(ctx, mine)
	if err != nil {
		return Measurement{}, err
	}
	var others []timer
	for _, c := range row.Contenders {
		s, err := r.setup("llamacpp", row, c, row.Merged)
		if err != nil {
			return Measurement{}, err
		}
		p, err := r.child(ctx, s)
		if err != nil {
			return Measurement{}, err
		}
		others = append(others, p)
	}
	return measure(ctx, row, r.Repeats, crayon, others)
}

func (r *race) setup(engine string, row Row, c Contender, merged bool) (Setup, error) {
	s := Setup{Engine: engine, Library: r.Library, Threads: r.Threads}
	var err error
	if s.Model, err = r.files.model(row.Model, c.File); err != nil || row.Adapters == nil {
		return s, err
	}
	s.Adapters, s.Scales, err = r.files.adapters(row.Model, *row.Adapters, merged, c.AdapterType)
	return s, err
}

// child is the process of a setup, started at its first use.
func (r *race) child(ctx context.Context, s Setup) (*process, error) {
	key := fmt.Sprintf("%+v", s)
	if p := r.children[key]; p != nil {
		return p, nil
	}
	p, err := start(ctx, r.Command, s, r.Log)
	if err == nil {
		r.children[key] = p
	}
	return p, err
}
