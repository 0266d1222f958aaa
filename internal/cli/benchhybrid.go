package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"crayon"
	"crayon/internal/bench"
	"crayon/internal/benchengine"
	"crayon/internal/benchhybrid"
	"crayon/internal/device"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/qa"
	"crayon/internal/store"
	"crayon/internal/strategy"
)

// hybridFlags are those of bench hybrid.
type hybridFlags struct {
	observe benchhybrid.ObserveOptions
	judge   benchhybrid.JudgeOptions
	benchFiles
	data, server, model, folder, export, exportTo, prior string
	pools, steps, from                                   []string
	share                                                float64
	parallel                                             int
	shots                                                []int
	memory                                               bool
	device                                               devices
}

// The steps of bench hybrid.
const (
	stepDevice = "device"
	stepServer = "server"
	stepJudge  = "judge"
)

var hybridSteps = []string{stepDevice, stepServer, stepJudge}

// The forms that decisions are exported in.
const (
	routerArena = "routerarena"
	routerBench = "routerbench"
)

// exports name the files of the forms.
var exports = map[string]string{routerArena: routerArena + ".json", routerBench: routerBench + ".csv"}

func (a *app) benchHybridCommand() *cobra.Command {
	o := hybridFlags{observe: benchhybrid.DefaultObserve(), judge: benchhybrid.DefaultJudge()}
	cmd := &cobra.Command{
		Use: "hybrid --data DIR --server URL", Short: "Measure what the route between device and server is worth",
		Long: `Makes users from the data sets in DIR, each with a stream of queries: 70 % of its own
task, 30 % rows of other families. Observes the device on each query, asks the
server without, with 5 and with 16 of the user's examples, and judges routers on
what both said: the product's, rivals and bounds. What device and server said is
kept in --folder, so what is known is not asked again, and a run that was stopped
goes on. With several pools, users whose family a pool left out are asked under it,
or, of a pool that left none out, those it knows.`,
		Example: `  crayon bench hybrid --data DIR --server http://127.0.0.1:8322/v1 --out r.json --raw raw/r.jsonl.gz --html r.html
  crayon bench hybrid --from raw/r.jsonl.gz --out r.json`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.benchHybrid(cmd, &o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", "", dataHelp)
	f.StringVar(&o.server, "server", "", "`URL` of the server; empty: the first of server.url")
	f.StringVar(&o.model, "server-model", "", "its `MODEL`; empty: that of server.model, else the first it lists")
	f.IntSliceVar(&o.shots, "server-shots", []int{0, 5, 16}, "how many of the user's examples the server is given, in turn; of these")
	f.IntVar(&o.parallel, "server-parallel", 1, "requests to the server at once")
	f.StringVar(&o.folder, "folder", "", "`FOLDER` that keeps what device and server said; empty: bench-hybrid beside the models")
	f.StringSliceVar(&o.pools, "pools", nil, "pool `FILES`; none: that of --pool")
	f.StringSliceVar(&o.steps, "steps", hybridSteps, "of device, server, judge")
	f.StringSliceVar(&o.from, "from", nil, "judge these raw `FILES`, or reports with theirs, alone: rows of several servers together")
	f.IntVar(&o.observe.Queries, "rows", o.observe.Queries, "queries a user, in all")
	f.IntVar(&o.observe.Users, "users", 0, "at most this many users a pool; 0: all")
	f.StringSliceVar(&o.observe.Datasets, "datasets", nil, "only these data `SETS`, or SET/SUBJECT users")
	f.StringSliceVar(&o.observe.Groups, "groups", nil, "only users of these `GROUPS`: seen, new_subjects, new_datasets, related")
	f.IntVar(&o.observe.Shots, "shots", o.observe.Shots, "examples a user customises from")
	f.StringVar(&o.observe.Strategy, "strategy", o.observe.Strategy, "that the customisation is fitted by")
	f.StringVar(&o.prior, "prior", "", "what other users' tasks taught: a JSON `FILE` in place of the program's own; with one pool of --pools at a time")
	f.BoolVar(&o.observe.Draft, "draft", false, "also draft the first 32 tokens of the device's answers")
	f.BoolVar(&o.memory, "memory", true, "keep the device's scores in --folder, so that other strategies cost no passes")
	f.Uint64Var(&o.observe.Seed, "seed", o.observe.Seed, "of streams, folds and the bootstrap")
	f.IntVar(&o.judge.Resamples, "resamples", o.judge.Resamples, "of the bootstrap")
	f.IntVar(&o.judge.Splits, "splits", o.judge.Splits, "calibrations that are made to see whether promises are kept; 0: none")
	f.StringVar(&o.raw, "raw", "", "write each row to `FILE` (JSON lines, gzip)")
	f.StringVar(&o.export, "export", "", "also export crayon's decisions: "+routerArena+" or "+routerBench)
	f.StringVar(&o.exportTo, "export-to", "", "`FILE` of the export; empty: routerarena.json or routerbench.csv; the second as JSON lines if it ends in .jsonl")
	f.Float64Var(&o.share, "export-share", 0.3, "of queries that are sent in the export")
	o.flags(cmd)
	deviceFlag(f, &o.device)
	return cmd
}

func (a *app) benchHybrid(cmd *cobra.Command, o *hybridFlags) error {
	ctx := cmd.Context()
	set, err := a.settings()
	if err != nil {
		return err
	}
	o.judge.Seed = o.observe.Seed
	for _, s := range o.steps {
		if !slices.Contains(hybridSteps, s) {
			return usage(fmt.Errorf("there is no step %q", s), "--steps "+strings.Join(hybridSteps, ","))
		}
	}
	if o.prior != "" && len(o.pools) > 1 {
		return usage(errors.New("one prior for several pools"), "--prior with one pool at a time: a fair one is learned without that pool's families")
	}
	if name, ok := exports[o.export]; o.export != "" && !ok {
		return usage(fmt.Errorf("no export %q", o.export), "--export "+routerArena+" or "+routerBench)
	} else if o.exportTo == "" {
		o.exportTo = name
	}
	if !(o.share >= 0 && o.share <= 1) {
		return usage(fmt.Errorf("a share of %v is sent, not 0 to 1", o.share), "--export-share 0.3")
	}
	servers := serversOf(set.Server)
	if o.server != "" {
		servers = append([]crayon.Server{{URL: o.server, Timeout: set.Server.Timeout}}, servers...)
		if len(servers) > 1 && servers[1].URL == o.server {
			servers = servers[1:]
		}
	}
	if len(servers) > 0 {
		if o.model != "" {
			servers[0].Model = o.model
		}
		if p := servers[0].Price; p != nil {
			o.judge.PriceIn, o.judge.PriceOut = p.In, p.Out
		}
	}
	if len(o.from) > 0 {
		return a.judgeFiles(ctx, o)
	}
	if o.data == "" {
		return usage(errors.New("no data folder is named"), cmd.CommandPath()+" --data DIR --server URL")
	}
	if slices.Contains(o.steps, stepServer) && len(servers) == 0 {
		return usage(errors.New("no server is named"), "--server http://127.0.0.1:8322/v1, as make server-llm prints it")
	}
	if err := a.hand(o.device); err != nil {
		return err
	}
	if o.folder == "" {
		o.folder = filepath.Join(set.Paths.Data, "bench-hybrid")
	}
	o.observe.Folder = o.folder
	path, err := a.modelPath()
	if err != nil {
		return err
	}
	digest, err := gguf.Digest(path)
	if err != nil {
		return err
	}
	o.observe.Digests = map[string]string{"model": digest}
	run, err := o.observe.Run()
	if err != nil {
		return err
	}
	var notes []string
	if slices.Contains(o.steps, stepDevice) {
		if notes, err = a.observeUsers(ctx, o, path, digest); err != nil {
			return err
		}
	}
	parts, err := benchhybrid.Parts(ctx, o.folder, run)
	if err != nil {
		return err
	}
	if len(parts) == 0 {
		return &fault.Error{Op: "bench hybrid", Path: o.folder, Err: errors.New("nothing is observed with these options"), Hint: "--steps device", Exit: fault.ExitUsage}
	}
	if !slices.Contains(o.steps, stepServer) && !slices.Contains(o.steps, stepJudge) {
		return a.emit(map[string]any{"users": len(parts), "folder": o.folder}, func(w io.Writer) {
			fmt.Fprintf(w, "%d users are observed, kept in %s\n", len(parts), o.folder)
		})
	}
	asked, err := a.askServer(ctx, o, servers, parts)
	if err != nil {
		return err
	}
	for _, why := range slices.Sorted(maps.Keys(asked.Held)) {
		notes = append(notes, fmt.Sprintf("%d requests did not leave: %s", asked.Held[why], why))
	}
	if !slices.Contains(o.steps, stepJudge) {
		return a.emit(map[string]any{"users": len(parts), "asked": asked.Fresh, "model": asked.Model, "folder": o.folder}, func(w io.Writer) {
			fmt.Fprintf(w, "%d answers of %s are new, kept in %s\n", asked.Fresh, asked.Model, o.folder)
		})
	}
	report := &benchhybrid.Report{Model: asked.Model, Notes: notes, Digests: map[string]string{"model": digest},
		Run: map[string]any{"queries": o.observe.Queries, "shots": o.observe.Shots, "strategy": o.observe.Strategy, "seed": o.observe.Seed, "draft": o.observe.Draft}}
	chosen := map[string]int{}
	for _, p := range parts {
		report.Digests[fmt.Sprintf("pool %.12s (%s)", p.Digests["pool"], p.Group)] = p.Digests["pool"]
		chosen[p.Strategy]++
	}
	report.Run["fitted"] = chosen
	return a.judgeRows(ctx, o, report, benchhybrid.Rows(parts, asked), benchhybrid.Prompts(parts))
}

// observeUsers is the device's step, for one pool after the other.
func (a *app) observeUsers(ctx context.Context, o *hybridFlags, path, digest string) ([]string, error) {
	data, err := a.openData(ctx, []string{o.data}, nil)
	if err != nil {
		return nil, err
	}
	pools := o.pools
	if len(pools) == 0 {
		pools = []string{a.set.Pool}
	}
	if err := store.MakeDir(o.folder); err != nil {
		return nil, err
	}
	var notes []string
	for _, file := range pools {
		got, err := a.observeUnder(ctx, o, data, file, path, digest)
		if err != nil {
			return nil, err
		}
		for _, n := range got {
			if !slices.Contains(notes, n) {
				notes = append(notes, n)
			}
		}
	}
	return notes, nil
}

// observeUnder observes the users of one pool.
func (a *app) observeUnder(ctx context.Context, o *hybridFlags, data *qa.Data, file, path, digest string) (notes []string, err error) {
	p, err := crayon.OpenPool(file)
	if err != nil {
		return nil, err
	}
	trained, err := benchengine.Provenance(ctx, data, p)
	if err != nil {
		return nil, err
	}
	opt := o.observe
	opt.Provenance = trained.Provenance
	if len(opt.Groups) == 0 && len(o.pools) > 1 {
		if opt.Groups, err = leftOut(ctx, data, opt); err != nil {
			return nil, err
		}
	}
	d, err := device.Open(ctx, path, p, device.Options{Threads: a.set.Threads, Digest: digest})
	if err != nil {
		return nil, err
	}
	defer d.Close()
	a.warn(d.Warning)
	scorer := benchengine.New(d)
	engine, err := a.engine(ctx, o.device, path, nil)
	if err != nil {
		return nil, err
	}
	if engine != nil {
		defer engine.Close()
		scorer, opt.Device = benchengine.With(d, engine.LogProbs, engine.Features), engine.Name()
	}
	var prior string
	if o.prior == "" {
		prior, err = strategy.DefaultPrior().Digest()
	} else {
		opt.Prior, prior, err = readPrior(o.prior)
	}
	if err != nil {
		return nil, err
	}
	opt.Digests = map[string]string{"model": digest, "pool": p.Digest(), "prior": prior}
	if o.memory {
		file := filepath.Join(o.folder, fmt.Sprintf("scores-%.12s", p.Digest()))
		if opt.Memory, err = bench.OpenMemory(file, bench.Source{Model: digest, Pool: p.Digest(), Device: opt.Device}); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, opt.Memory.Close()) }()
		opt.Device = opt.Memory.Device()
	}
	show, done := a.progress()
	opt.Progress = func(user string, n, total int) { show("device: "+user, n, total) }
	_, notes, err = benchhybrid.Observe(ctx, data, scorer.Learning(), opt)
	done()
	return notes, err
}

// leftOut are the groups that a pool is asked for among several: families that it
// left out, or else what it knows.
func leftOut(ctx context.Context, data *qa.Data, o benchhybrid.ObserveOptions) ([]string, error) {
	sel := o.Selection
	sel.Rows, sel.Users = 1, 0
	people, err := bench.Users(ctx, data, sel, o.Provenance)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(people.Users, func(u *bench.User) bool { return u.Group == bench.NewDataset }) {
		return []string{string(bench.NewDataset)}, nil
	}
	return []string{string(bench.Seen)}, nil
}

// askServer is the server's step; without it only what is known counts.
func (a *app) askServer(ctx context.Context, o *hybridFlags, servers []crayon.Server, parts []*benchhybrid.Part) (*benchhybrid.Asked, error) {
	opt := benchhybrid.AskOptions{Folder: o.folder, Shots: o.shots, Parallel: o.parallel, Known: !slices.Contains(o.steps, stepServer)}
	if len(servers) == 0 {
		servers = []crayon.Server{{URL: "http://127.0.0.1"}}
	}
	opt.Model = servers[0].Model
	lib, err := a.library()
	if err != nil {
		return nil, err
	}
	set := a.set
	server, done, err := lib.OpenServer(crayon.Options{LocalOnly: set.LocalOnly, Servers: servers, Budget: budgetOf(set.Budget), Bodies: set.Ledger.Bodies, Privacy: privacyOf(set.Privacy)})
	if err != nil {
		return nil, err
	}
	defer done()
	show, end := a.progress()
	opt.Progress = func(user string, n, total int) { show("server: "+user, n, total) }
	asked, err := benchhybrid.Ask(ctx, server, parts, opt)
	end()
	return asked, err
}

// judgeFiles judges raw files and reports alone.
func (a *app) judgeFiles(ctx context.Context, o *hybridFlags) error {
	rows, report, err := benchhybrid.ReadInputs(o.from, o.model)
	if err != nil {
		return err
	}
	return a.judgeRows(ctx, o, report, rows, nil)
}

// judgeRows is the last step: the figures, and what is written of them.
func (a *app) judgeRows(ctx context.Context, o *hybridFlags, report *benchhybrid.Report, rows []benchhybrid.Row, prompts map[string]string) error {
	figures, err := benchhybrid.Judge(ctx, rows, o.judge)
	if err != nil {
		return err
	}
	report.Benchmark, report.Figures, report.Environment = benchhybrid.Kind, *figures, bench.Here("")
	if report.Notes == nil {
		report.Notes = []string{}
	}
	if o.raw != "" {
		if err := report.Keep(o.raw, a.outFile, rows); err != nil {
			return err
		}
	}
	if o.export != "" {
		if err := exportDecisions(ctx, o, rows, figures, prompts, report.Model); err != nil {
			return err
		}
	}
	return a.drawnOut(report, o.benchFiles)
}

// exportDecisions writes crayon's decisions in another benchmark's form.
func exportDecisions(ctx context.Context, o *hybridFlags, rows []benchhybrid.Row, figures *benchhybrid.Figures, prompts map[string]string, server string) error {
	decisions, err := benchhybrid.Decide(ctx, rows, figures, o.share)
	if err != nil {
		return err
	}
	switch server {
	case "":
		server = "server"
	case crayon.DefaultModel: // columns and predictions tell the sides by name
		server += " (server)"
	}
	return store.WriteFile(o.exportTo, func(w io.Writer) error {
		if o.export == routerBench {
			return benchhybrid.WriteRouterBench(w, decisions, prompts, crayon.DefaultModel, server, filepath.Ext(o.exportTo) == ".jsonl")
		}
		return benchhybrid.WriteArena(w, decisions, prompts, crayon.DefaultModel, server)
	})
}
