package benchhybrid

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"crayon/internal/route/calibrate"
	"crayon/internal/route/signal"
)

// mostFamilyFolds of families.
const mostFamilyFolds = 5

// fits are probabilities of being right, one a row, by models that saw neither
// the row nor, where it says so, its family. A fit that the rows are too few for
// is nil.
type fits struct {
	device, server           []float64 // Crayon's, on the user's own other rows
	earlyDevice, earlyServer []float64 // by what is known before a draft
	draftDevice, draftServer []float64 // by the draft's tokens in place of the choices
	bareDevice, bareServer   []float64 // of the device LLM without a customisation
	farDevice, farServer     []float64 // Crayon's, on other families alone
	taskDevice, taskServer   []float64 // by the query's task alone, which no router is told
	taskBare                 []float64
	toldDevice, toldServer   []float64 // by everything, the task too
	toldBare, toldBareServer []float64
	rivalDevice, rivalServer []float64 // the learned rival's
	rivalBare                []float64
	rivalFarDevice           []float64
	rivalFarServer           []float64

	folds    []int // that each of the others was fitted without
	farFolds []int // the same of the far ones
}

// outcomes of rows, 1 or 0.
type outcomes struct{ device, bare, server []float64 }

// outcomesOf are those of rows, of the server in the form asked.
func outcomesOf(rows []Row, asked string) (y outcomes) {
	for i := range rows {
		r := &rows[i]
		y.device, y.bare, y.server = append(y.device, r.right(r.Picks[Custom])), append(y.bare, r.right(r.Picks[Base])), append(y.server, r.right(r.Server[asked]))
	}
	return y
}

// learn makes all fits, as many at once as there are cores.
func learn(ctx context.Context, rows []Row, y outcomes, seed uint64) (*fits, error) {
	f := &fits{folds: foldsOf(rows, seed)}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	fit := func(out *[]float64, of []float64, o calibrate.Options, row func(r *Row) calibrate.Row) {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			o.Seed = seed
			got, err := calibrate.FitModel(told(rows, of, row), isRight, o)
			if err == nil {
				*out = got.Out
			}
			return enough(err)
		})
	}
	own := ownRow
	bare := func(r *Row) calibrate.Row {
		return calibrate.Row{User: r.User, Cluster: r.Cluster, Group: r.query(), Signals: with(r.Signals, r.Bare)}
	}
	byTask := func(of func(*Row) calibrate.Row) func(*Row) calibrate.Row {
		return func(r *Row) calibrate.Row {
			x := of(r)
			x.User = taskOf(r)
			return x
		}
	}
	fit(&f.device, y.device, calibrate.Options{}, own)
	fit(&f.server, y.server, calibrate.Options{}, own)
	fit(&f.bareDevice, y.bare, calibrate.Options{}, bare)
	fit(&f.bareServer, y.server, calibrate.Options{}, bare)
	fit(&f.earlyDevice, y.device, calibrate.Options{Early: true}, own)
	fit(&f.earlyServer, y.server, calibrate.Options{Early: true}, own)
	level := calibrate.Options{Signals: []string{}}
	fit(&f.taskDevice, y.device, level, byTask(own))
	fit(&f.taskServer, y.server, level, byTask(own))
	fit(&f.taskBare, y.bare, level, byTask(own))
	fit(&f.toldDevice, y.device, calibrate.Options{}, byTask(own))
	fit(&f.toldServer, y.server, calibrate.Options{}, byTask(own))
	fit(&f.toldBare, y.bare, calibrate.Options{}, byTask(bare))
	fit(&f.toldBareServer, y.server, calibrate.Options{}, byTask(bare))
	if !slices.ContainsFunc(rows, func(r Row) bool { return len(r.Draft) == 0 }) {
		draft := func(r *Row) calibrate.Row {
			return calibrate.Row{User: r.User, Cluster: r.Cluster, Group: r.query(), Signals: drafted(r.Signals, r.Draft)}
		}
		fit(&f.draftDevice, y.device, calibrate.Options{}, draft)
		fit(&f.draftServer, y.server, calibrate.Options{}, draft)
	}
	families := familyFolds(rows)
	f.farFolds = families.rows
	for _, x := range []struct {
		out *[]float64
		of  []float64
	}{{&f.farDevice, y.device}, {&f.farServer, y.server}} {
		g.Go(func() (err error) {
			*x.out, err = far(ctx, rows, x.of, families, seed)
			return enough(err)
		})
	}
	r, err := rivalOf(rows)
	if err != nil {
		return nil, errors.Join(err, g.Wait())
	}
	outside := func(fold, row int) bool { return families.of[rows[row].Family] != fold }
	for _, x := range []struct {
		out    *[]float64
		of     []float64
		folds  []int
		within func(fold, row int) bool
	}{{&f.rivalDevice, y.device, f.folds, nil}, {&f.rivalServer, y.server, f.folds, nil}, {&f.rivalBare, y.bare, f.folds, nil},
		{&f.rivalFarDevice, y.device, families.rows, outside}, {&f.rivalFarServer, y.server, families.rows, outside}} {
		if slices.Max(x.folds) == 0 {
			continue
		}
		g.Go(func() (err error) {
			if err := ctx.Err(); err != nil {
				return err
			}
			*x.out, err = r.cross(x.of, x.folds, x.within)
			return err
		})
	}
	return f, g.Wait()
}

// enough takes rows that are too few, or all right, for no error.
func enough(err error) error {
	if errors.Is(err, calibrate.ErrTooFewRows) || errors.Is(err, calibrate.ErrOneClass) {
		return nil
	}
	return err
}

// foldsOf are the folds of the rows' cross-fits. A query that several users ask
// is in one: the server says the same to all of them, and a fit that has seen it
// knows.
func foldsOf(rows []Row, seed uint64) []int {
	of := make([]calibrate.Row, len(rows))
	for i := range rows {
		of[i] = ownRow(&rows[i])
	}
	return calibrate.Folds(of, seed)
}

func isRight(r calibrate.Row) float64 { return r.Device }

// told are rows with one side's outcome as Device.
func told(rows []Row, of []float64, row func(r *Row) calibrate.Row) []calibrate.Row {
	out := make([]calibrate.Row, len(rows))
	for i := range rows {
		out[i] = row(&rows[i])
		out[i].Device = of[i]
	}
	return out
}

// taskOf is what a query belongs to: its user's task, or the data set that it was
// taken from.
func taskOf(r *Row) string {
	if r.Own {
		return r.User
	}
	return "from " + r.Dataset + " (" + string(r.Group) + ")"
}

// folded are families dealt into folds.
type folded struct {
	of   map[string]int // by family
	rows []int          // each row's, by its user's family
}

// familyFolds deals users' families into folds of about as many rows; with one
// family there is one fold.
func familyFolds(rows []Row) folded {
	count := map[string]int{}
	for i := range rows {
		count[rows[i].Kin]++
	}
	var names []string
	for name := range count {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if count[a] != count[b] {
			return count[b] - count[a]
		}
		return strings.Compare(a, b)
	})
	size := make([]int, min(mostFamilyFolds, len(names)))
	f := folded{of: map[string]int{}}
	for _, name := range names {
		least := 0
		for k := range size {
			if size[k] < size[least] {
				least = k
			}
		}
		f.of[name] = least
		size[least] += count[name]
	}
	for i := range rows {
		f.rows = append(f.rows, f.of[rows[i].Kin])
	}
	return f
}

// far are probabilities by models that saw no row of the user's family, neither
// as a user's task nor as others' queries, and no user of it.
func far(ctx context.Context, rows []Row, of []float64, families folded, seed uint64) ([]float64, error) {
	folds := slices.Max(families.rows) + 1
	if folds < 2 {
		return nil, nil
	}
	out := make([]float64, len(rows))
	for f := range folds {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var train []calibrate.Row
		for i := range rows {
			if in, known := families.of[rows[i].Family]; families.rows[i] != f && !(known && in == f) {
				train = append(train, calibrate.Row{Group: rows[i].Kin, Signals: rows[i].Signals, Device: of[i]})
			}
		}
		m, err := calibrate.FitModel(train, isRight, calibrate.Options{Seed: seed})
		if err != nil {
			return nil, err
		}
		for i := range rows {
			if families.rows[i] == f {
				out[i] = m.P(calibrate.Row{Signals: rows[i].Signals})
			}
		}
	}
	return out, nil
}

// rivalOf is the learned rival over rows.
func rivalOf(rows []Row) (*rival, error) {
	features, further, users := make([][]float64, len(rows)), make([][]float64, len(rows)), make([]string, len(rows))
	queries := make([]string, len(rows))
	for i := range rows {
		var err error
		if features[i], err = unpacked(rows[i].Hidden); err != nil {
			return nil, err
		}
		if len(features[i]) != len(features[0]) {
			return nil, errors.New("features of different lengths")
		}
		for k, s := range signal.All() {
			if s.Kind == signal.Confidence {
				further[i] = append(further[i], rows[i].Signals[k])
			}
		}
		users[i] = rows[i].User
		queries[i] = rows[i].query()
	}
	return newRival(features, further, users, queries), nil
}

// crossed are Crayon's probabilities of both sides alone, as learn has them.
func crossed(ctx context.Context, rows []Row, y outcomes, seed uint64) (device, server []float64, err error) {
	for _, x := range []struct {
		out *[]float64
		of  []float64
	}{{&device, y.device}, {&server, y.server}} {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		got, err := calibrate.FitModel(told(rows, x.of, ownRow), isRight, calibrate.Options{Seed: seed})
		if err != nil {
			return nil, nil, err
		}
		*x.out = got.Out
	}
	return device, server, nil
}

// ownRow is a row as the product has it.
func ownRow(r *Row) calibrate.Row {
	return calibrate.Row{User: r.User, Cluster: r.Cluster, Group: r.query(), Signals: r.Signals}
}
