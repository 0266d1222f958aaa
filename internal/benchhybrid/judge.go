package benchhybrid

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"crayon/internal/bench"
	"crayon/internal/fault"
	"crayon/internal/qa"
)

// JudgeOptions says how rows are judged.
type JudgeOptions struct {
	Seed      uint64  `json:"seed"`
	Resamples int     `json:"resamples"` // of the bootstrap
	Splits    int     `json:"splits"`    // of the promises: calibrations that are made anew
	PriceIn   float64 `json:"price_in"`  // of a million tokens of the server's prompt
	PriceOut  float64 `json:"price_out"` // of its answer
}

// DefaultJudge is 1000 resamples, and 10 calibrations for the promises.
func DefaultJudge() JudgeOptions { return JudgeOptions{Seed: 1, Resamples: 1000, Splits: 10} }

// Figures is everything that follows from rows and JudgeOptions. At the top level
// are those of the customised device against the server as it is asked best.
type Figures struct {
	Section
	Bare      *Section                  `json:"bare"`              // the device LLM without a customisation
	Transfer  *Section                  `json:"transfer"`          // crayon and the learned rival from other families alone
	Groups    map[bench.Group]*Section  `json:"groups"`            // by what the pool was trained on
	Better    *Section                  `json:"server_better"`     // queries of data sets on which the server has more right
	Worse     *Section                  `json:"server_worse"`      // of the others
	Simulated map[string]*Section       `json:"simulated"`         // by accuracy, of servers that are SIMULATED: right by draw, whatever the query
	Servers   map[string]*VariantFigure `json:"servers"`           // by form of the prompt
	Asked     string                    `json:"asked"`             // the form the figures are of: the one with most right
	Models    map[string]*ModelFigure   `json:"server_models"`     // by model that answered: of several each answers some of the users
	Datasets  map[string]*Against       `json:"datasets"`          // the queries' data sets
	Sides     []Side                    `json:"sides"`             // both sides by group of users, on own and foreign queries
	Promises  []Promise                 `json:"promises"`          // kept on rows that a calibration has not seen
	Latency   *Latency                  `json:"latency"`           // and cost
	LeftOut   int                       `json:"left_out"`          // rows that the server did not answer
	Ways      map[string]float64        `json:"device_ways"`       // accuracy of the device by way
	OwnWays   map[string]float64        `json:"device_ways_own"`   // the same on users' own rows
	Strange   float64                   `json:"other_rows_share"`  // of the rows, those of other families
	About     map[string]string         `json:"about_routers"`     // by router
	Targets   []Target                  `json:"targets,omitempty"` // what was to be reached
	Missing   []string                  `json:"missing,omitempty"` // figures that the rows are too few for
	Settings  JudgeOptions              `json:"judged"`            // as asked
}

// VariantFigure is a way of asking the server.
type VariantFigure struct {
	Accuracy   float64 `json:"accuracy"`
	Own        float64 `json:"own"`        // on users' own rows
	Other      float64 `json:"other"`      // on rows of other families
	Unparsable float64 `json:"unparsable"` // share
	Rows       int     `json:"rows"`
}

// ModelFigure is one server's rows.
type ModelFigure struct {
	Users   int     `json:"users"`
	Seconds float64 `json:"seconds"`       // an answer, mean
	Prompt  float64 `json:"prompt_tokens"` // mean
	Against
}

// Against is both sides on one data set.
type Against struct {
	Rows   int     `json:"rows"`
	Device float64 `json:"device"`
	Bare   float64 `json:"bare"`
	Server float64 `json:"server"`
}

// Side is both sides on one part of the rows.
type Side struct {
	Group bench.Group `json:"group"` // of the users; "": all
	Part  string      `json:"part"`  // ownPart, otherPart, or "": both
	Users int         `json:"users"`
	Against
}

// The parts of a stream: queries of the user's own task, and foreign ones.
const (
	ownPart   = "own"
	otherPart = "other"
)

// groupOrder is that of tables.
var groupOrder = []bench.Group{bench.Seen, bench.NewSubject, bench.NewDataset, bench.Related}

// Latency is what a query takes and costs, by share sent: the device drafts
// every query, and what is sent waits for the server besides.
type Latency struct {
	Device       float64            `json:"device_seconds"`        // mean
	Server       float64            `json:"server_seconds"`        // mean
	ServerSlow   float64            `json:"server_seconds_p95"`    //
	Prompt       float64            `json:"server_prompt_tokens"`  // mean
	Completion   float64            `json:"server_answer_tokens"`  // mean
	Seconds      map[string]float64 `json:"seconds"`               // a query, by share sent
	Cost         map[string]float64 `json:"cost"`                  // a query, by share sent, in the money of the prices
	Undrafted    map[string]float64 `json:"seconds_crayon_early"`  // where the router decides before a draft
	PricesPerMil [2]float64         `json:"prices_million_tokens"` // prompt, answer
}

// simulated are the accuracies of simulated servers.
var simulated = []float64{0.6, 0.75, 0.9}

// Judge makes the figures. The same rows and options give the same figures.
func Judge(ctx context.Context, rows []Row, o JudgeOptions) (*Figures, error) {
	if o.Resamples < 10 || o.Resamples > 1e5 || o.Splits < 0 || o.Splits > 1000 {
		return nil, &fault.Error{Op: "check benchmark options", Err: fmt.Errorf("%d resamples, %d splits", o.Resamples, o.Splits), Exit: fault.ExitUsage, Hint: "--resamples 1000 --splits 10"}
	}
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b Row) int { return compareRows(&a, &b) })
	f := &Figures{Settings: o, Servers: map[string]*VariantFigure{}, Groups: map[bench.Group]*Section{}, Simulated: map[string]*Section{}, Datasets: map[string]*Against{}, Models: map[string]*ModelFigure{},
		Ways: map[string]float64{}, OwnWays: map[string]float64{}, About: map[string]string{}}
	for _, r := range routers {
		f.About[r.name] = r.about
	}
	if rows = f.asked(rows); len(rows) == 0 {
		err := errors.New("the server answered no row")
		if len(f.Missing) > 0 {
			err = errors.New("the servers were asked in no form that all were asked in")
		}
		return nil, &fault.Error{Op: "judge routers", Err: err, Hint: "crayon bench hybrid --data DIR --server URL"}
	}
	f.ways(rows)
	y := outcomesOf(rows, f.Asked)
	fit, err := learn(ctx, rows, y, o.Seed)
	if err != nil {
		return nil, err
	}
	if fit.device == nil || fit.server == nil {
		f.Missing = append(f.Missing, "the rows are too few, or a side is always right, for a calibration")
	}
	if fit.draftDevice == nil && slices.ContainsFunc(rows, func(r Row) bool { return len(r.Draft) > 0 }) {
		f.Missing = append(f.Missing, draftRouter+": not every row has a draft")
	}
	if fit.farDevice == nil {
		f.Missing = append(f.Missing, "transfer to other families: there are too few")
	}
	all := count(len(rows))
	main := &bout{rows: rows, folds: fit.folds, device: y.device, server: y.server, pDevice: fit.device, pServer: fit.server, earlyDevice: fit.earlyDevice, earlyServer: fit.earlyServer,
		draftDevice: fit.draftDevice, draftServer: fit.draftServer, rivalDevice: fit.rivalDevice, rivalServer: fit.rivalServer,
		taskDevice: fit.taskDevice, taskServer: fit.taskServer, toldDevice: fit.toldDevice, toldServer: fit.toldServer}
	bare := &bout{rows: rows, folds: fit.folds, bare: true, device: y.bare, server: y.server, pDevice: fit.bareDevice, pServer: fit.bareServer, rivalDevice: fit.rivalBare, rivalServer: fit.rivalServer,
		taskDevice: fit.taskBare, taskServer: fit.taskServer, toldDevice: fit.toldBare, toldServer: fit.toldBareServer}
	far := &bout{rows: rows, folds: fit.farFolds, device: y.device, server: y.server, pDevice: fit.farDevice, pServer: fit.farServer, rivalDevice: fit.rivalFarDevice, rivalServer: fit.rivalFarServer,
		taskDevice: fit.taskDevice, taskServer: fit.taskServer, toldDevice: fit.toldDevice, toldServer: fit.toldServer}
	f.Section = *main.section(all, &o)
	f.Bare, f.Transfer = bare.section(all, &o), far.section(all, &o)
	for _, g := range groupOrder {
		if at := where(rows, func(r *Row) bool { return r.Group == g }); len(at) > 0 {
			f.Groups[g] = main.section(at, &o)
		}
	}
	better := func(r *Row) bool { d := f.Datasets[r.Dataset]; return d.Server > d.Device }
	f.Better = main.section(where(rows, better), &o)
	f.Worse = main.section(where(rows, func(r *Row) bool { return !better(r) }), &o)
	for _, accuracy := range simulated {
		// Its being right hangs on nothing, so its probability is the same for all.
		s := *main
		s.ranks, s.server = nil, drawn(rows, accuracy, o.Seed)
		p := constant(mean(s.server), len(rows))
		s.pServer, s.earlyServer, s.rivalServer, s.taskServer, s.toldServer = p, p, p, p, p
		s.draftDevice, s.draftServer = nil, nil
		f.Simulated[strconv.FormatFloat(accuracy, 'g', -1, 64)] = s.section(all, &o)
	}
	f.latency(rows, &o)
	if f.Promises, err = promises(ctx, rows, y, &f.Section, &o); err != nil {
		return nil, err
	}
	f.targets()
	return f, nil
}

func compareRows(a, b *Row) int {
	for _, c := range [][2]string{{a.User, b.User}, {a.Dataset, b.Dataset}, {a.ID, b.ID}} {
		if c[0] != c[1] {
			if c[0] < c[1] {
				return -1
			}
			return 1
		}
	}
	return 0
}

// where are the rows that keep says.
func where(rows []Row, keep func(r *Row) bool) []int {
	var at []int
	for i := range rows {
		if keep(&rows[i]) {
			at = append(at, i)
		}
	}
	return at
}

// forms are those in which every server was asked, and by form those that some
// were not asked in.
func forms(rows []Row) (common []string, lacking map[string][]string) {
	of := map[string]map[string]bool{} // by server
	all := map[string]bool{}
	for i := range rows {
		model := rows[i].Model
		for name := range rows[i].Server {
			if of[model] == nil {
				of[model] = map[string]bool{}
			}
			of[model][name], all[name] = true, true
		}
	}
	lacking = map[string][]string{}
	for _, name := range sortedKeys(all) {
		for _, model := range sortedKeys(of) {
			if !of[model][name] {
				lacking[name] = append(lacking[name], model)
			}
		}
		if lacking[name] == nil {
			common = append(common, name)
		}
	}
	return common, lacking
}

// asked finds the form in which the servers have most right, of those that all
// were asked in, and the rows that are answered in all of these.
func (f *Figures) asked(rows []Row) []Row {
	names, lacking := forms(rows)
	for _, name := range sortedKeys(lacking) {
		f.Missing = append(f.Missing, fmt.Sprintf("form %s: not asked of %s", name, strings.Join(lacking[name], ", ")))
	}
	var kept []Row
	for i := range rows {
		if len(names) > 0 && !slices.ContainsFunc(names, func(name string) bool { _, ok := rows[i].Server[name]; return !ok }) {
			kept = append(kept, rows[i])
		}
	}
	f.LeftOut = len(rows) - len(kept)
	best := -1.0
	for _, name := range names {
		v := &VariantFigure{Rows: len(kept)}
		var own, other, nOwn, nOther float64
		for i := range kept {
			r := &kept[i]
			right := r.right(r.Server[name])
			if r.Own {
				own, nOwn = own+right, nOwn+1
			} else {
				other, nOther = other+right, nOther+1
			}
			if r.Server[name] == unparsable {
				v.Unparsable++
			}
		}
		n := float64(max(1, len(kept)))
		v.Accuracy, v.Unparsable = bench.Rounded((own+other)/n), bench.Rounded(v.Unparsable/n)
		v.Own, v.Other = bench.Rounded(own/max(1, nOwn)), bench.Rounded(other/max(1, nOther))
		f.Servers[name] = v
		if v.Accuracy > best {
			best, f.Asked = v.Accuracy, name
		}
	}
	return kept
}

// ways are the accuracies of the device's ways, and both sides by data set.
func (f *Figures) ways(rows []Row) {
	var own float64
	for i := range rows {
		r := &rows[i]
		d := f.Datasets[r.Dataset]
		if d == nil {
			d = &Against{}
			f.Datasets[r.Dataset] = d
		}
		d.add(r, f.Asked)
		for way, pick := range r.Picks {
			f.Ways[way] += r.right(pick)
			if r.Own {
				f.OwnWays[way] += r.right(pick)
			}
		}
		if r.Own {
			own++
		}
	}
	for _, d := range f.Datasets {
		d.divide()
	}
	f.sides(rows)
	f.models(rows)
	for way := range f.Ways {
		f.Ways[way], f.OwnWays[way] = bench.Rounded(f.Ways[way]/float64(len(rows))), bench.Rounded(f.OwnWays[way]/max(1, own))
	}
	f.Strange = bench.Rounded(1 - own/float64(len(rows)))
}

// add counts a row; divide makes shares of the counts.
func (d *Against) add(r *Row, asked string) {
	d.Rows++
	d.Device += r.right(r.Picks[Custom])
	d.Bare += r.right(r.Picks[Base])
	d.Server += r.right(r.Server[asked])
}

func (d *Against) divide() {
	n := float64(d.Rows)
	d.Device, d.Bare, d.Server = bench.Rounded(d.Device/n), bench.Rounded(d.Bare/n), bench.Rounded(d.Server/n)
}

// sides are both sides of all users and of each group, on own and foreign queries
// and on both.
func (f *Figures) sides(rows []Row) {
	for _, g := range append([]bench.Group{""}, groupOrder...) {
		for _, part := range []string{"", ownPart, otherPart} {
			s := Side{Group: g, Part: part}
			users := map[string]bool{}
			for i := range rows {
				if r := &rows[i]; (g == "" || r.Group == g) && (part == "" || r.Own == (part == ownPart)) {
					s.add(r, f.Asked)
					users[r.User] = true
				}
			}
			if s.Users = len(users); s.Users > 0 {
				s.divide()
				f.Sides = append(f.Sides, s)
			}
		}
	}
}

// models are the rows by the server that answered them, where they say.
func (f *Figures) models(rows []Row) {
	users := map[string]map[string]bool{}
	shots := strings.TrimPrefix(strings.TrimPrefix(f.Asked, byLetter), byLogProb)
	for i := range rows {
		r := &rows[i]
		if r.Model == "" {
			continue
		}
		m := f.Models[r.Model]
		if m == nil {
			m = &ModelFigure{}
			f.Models[r.Model], users[r.Model] = m, map[string]bool{}
		}
		m.add(r, f.Asked)
		m.Seconds += r.Costs[shots].Seconds
		m.Prompt += float64(r.Costs[shots].Prompt)
		users[r.Model][r.User] = true
	}
	for name, m := range f.Models {
		m.divide()
		m.Users, m.Seconds, m.Prompt = len(users[name]), round(m.Seconds/float64(m.Rows)), round(m.Prompt/float64(m.Rows))
	}
}

// drawn is a simulated server's being right: a draw of each row's own.
func drawn(rows []Row, accuracy float64, seed uint64) []float64 {
	out := make([]float64, len(rows))
	for i := range rows {
		key := qa.Hash(seed, "simulated", rows[i].User, rows[i].Dataset, rows[i].ID)
		if (float64(key[0])*65536+float64(key[1])*256+float64(key[2]))/(1<<24) < accuracy {
			out[i] = 1
		}
	}
	return out
}

func (f *Figures) latency(rows []Row, o *JudgeOptions) {
	var device, server, prompt, completion []float64
	for i := range rows {
		device = append(device, rows[i].Seconds[Custom])
		for form := range map[string]bool{byLetter: true, byLogProb: true} {
			for _, shots := range serverShots {
				if variant(form, shots) == f.Asked {
					c := rows[i].Costs[strconv.Itoa(shots)]
					server, prompt, completion = append(server, c.Seconds), append(prompt, float64(c.Prompt)), append(completion, float64(c.Completion))
				}
			}
		}
	}
	l := &Latency{Device: round(mean(device)), Server: round(mean(server)), Prompt: round(mean(prompt)), Completion: round(mean(completion)),
		Seconds: map[string]float64{}, Cost: map[string]float64{}, Undrafted: map[string]float64{}, PricesPerMil: [2]float64{o.PriceIn, o.PriceOut}}
	slices.Sort(server)
	l.ServerSlow = server[min(len(server)-1, int(0.95*float64(len(server))))]
	price := (o.PriceIn*mean(prompt) + o.PriceOut*mean(completion)) / 1e6
	for _, s := range []float64{0, 0.1, 0.3, 0.5, 1} {
		l.Seconds[named(s)], l.Undrafted[named(s)] = round(l.Device+s*l.Server), round((1-s)*l.Device+s*l.Server)
		l.Cost[named(s)] = round(s * price)
	}
	f.Latency = l
}

// Target is a figure that was to be reached.
type Target struct {
	Name     string   `json:"name"`
	Reach    float64  `json:"reach"`
	Most     bool     `json:"most,omitempty"` // Reach is the most it may be, not the least
	Measured *float64 `json:"measured"`
	Low      *float64 `json:"low,omitempty"` // 95 % of the resamples lie in, where it was resampled
	High     *float64 `json:"high,omitempty"`
	Reached  bool     `json:"reached"`
}

// targets holds the figures against what was to be reached. A difference has to
// be above 0 with its interval.
func (f *Figures) targets() {
	add := func(t Target, interval *Figure) {
		if interval != nil {
			t.Low, t.High = &interval.Low, &interval.High
		}
		f.Targets = append(f.Targets, t)
	}
	least := func(name string, reach float64, x *float64, interval *Figure) {
		add(Target{Name: name, Reach: reach, Measured: x, Reached: x != nil && *x >= reach}, interval)
	}
	least("AUROC of \"the device is right\", mean over users", 0.68, f.AUROCWithin, f.Intervals["auroc_within_user"])
	least("the same, all rows together", 0.80, f.AUROC, f.Intervals["auroc"])
	least("AUROC of \"own task or not\", mean over users", 0.95, f.Scope, f.Intervals["scope_auroc"])
	least("share of the winnable gain at 30 % sent", 0.40, f.WinnableShare["0.3"], f.Intervals["winnable_share 0.3"])
	least("share of the winnable gain at 50 % sent", 0.65, f.WinnableShare["0.5"], f.Intervals["winnable_share 0.5"])
	for _, rival := range []string{maxProbability, learnedRouter} {
		var x *float64
		a := f.AreaOver[rival]
		if a != nil {
			x = &a.Value
		}
		add(Target{Name: "area over " + rival + ", interval above 0", Measured: x, Reached: a.shown()}, a)
	}
	add(Target{Name: "calibration error", Reach: 0.03, Most: true, Measured: f.ECE, Reached: f.ECE != nil && *f.ECE <= 0.03}, nil)
	least("Brier skill", 0.10, f.BrierSkill, nil)
	for _, p := range f.Promises {
		share := p.Kept
		least(fmt.Sprintf("promised %s of %.2f held within %v on unseen rows, share of resamples", p.What, p.Target, p.Margin), 0.95, &share, nil)
	}
}

// text is the figure with its interval. Areas are small, so theirs are longer.
func (t *Target) text() string {
	if t.Measured == nil || math.IsNaN(*t.Measured) {
		return "-"
	}
	form := "%.3f"
	if t.Reach == 0 {
		form = "%+.4f"
	}
	out := fmt.Sprintf(form, *t.Measured)
	if t.Low != nil && t.High != nil {
		out += fmt.Sprintf(" ["+form+", "+form+"]", *t.Low, *t.High)
	}
	return out
}

func (t *Target) asked() string {
	switch {
	case t.Reach == 0:
		return "above 0"
	case t.Most:
		return fmt.Sprintf("at most %.2f", t.Reach)
	}
	return fmt.Sprintf("%.2f", t.Reach)
}
