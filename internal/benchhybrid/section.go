package benchhybrid

import (
	"fmt"
	"math"
	"slices"

	"crayon/internal/bench"
	"crayon/internal/route/calibrate"
)

// Figure is a number with where 95 % of its resamples lie: data sets, users and
// rows, all with replacement.
type Figure struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// shown says whether the interval leaves 0 out on the upper side.
func (f *Figure) shown() bool { return f != nil && f.Low > 0 }

// Section is the figures of one device against one server over some rows. What
// the rows do not tell is null.
type Section struct {
	Rows   int     `json:"rows"`
	Users  int     `json:"users"`
	Device float64 `json:"device"` // accuracy with none sent
	Server float64 `json:"server"` // with all sent
	Either float64 `json:"either"` // a side is right: what no router reaches

	AUROC       *float64 `json:"auroc"`              // of "the device is right"
	AUROCWithin *float64 `json:"auroc_within_user"`  // the same, mean over users
	WithinUsers int      `json:"auroc_within_users"` // those with 5 rows of either kind
	Scope       *float64 `json:"scope_auroc"`        // of "it is the user's own task", mean over users
	ScopeUsers  int      `json:"scope_users"`
	ECE         *float64 `json:"ece"`         // of the device's probability, 15 bins of equal mass
	BrierSkill  *float64 `json:"brier_skill"` // over each user's share right
	ServerECE   *float64 `json:"server_ece"`
	// By the probability of the choice alone, as it was.
	ConfidenceAUROC       *float64 `json:"confidence_auroc"`
	ConfidenceAUROCWithin *float64 `json:"confidence_auroc_within_user"`

	// Ranks is how well each router's own number, if it has one, tells the device's
	// rows that are right.
	Ranks map[string]*Rank `json:"router_auroc"`

	GainOverRandom map[string]*float64 `json:"gain_over_random"` // by share sent: accuracy less that of sending as many at random
	// WinnableBound is the mean of the larger probability of both sides by a model
	// that is told the task besides; a winnable share is the accuracy over the
	// better side's, divided by what the bound is over it.
	WinnableBound *float64            `json:"winnable_bound"`
	WinnableShare map[string]*float64 `json:"winnable_share"`

	// Won is by share sent crayon's gain over sending as many at random, divided by
	// the gain that the model which is told the task expects of its own order: a
	// measure also where one side is the better on nearly all queries, and nothing
	// is winnable over it.
	Won map[string]*float64 `json:"won"`

	Area      map[string]*Figure            `json:"area"`           // by router: between its curve and random's
	AreaOver  map[string]*Figure            `json:"area_over"`      // by rival: crayon's less its
	Accuracy  map[string]map[string]float64 `json:"accuracy"`       // by router and share
	Winnable  map[string]map[string]float64 `json:"winnable"`       // the share of the winnable gain, by router and share
	Intervals map[string]*Figure            `json:"intervals"`      // of the figures above, by name
	Curves    map[string][]float64          `json:"curves"`         // by router: accuracy at 0, 0.05, ... 1 sent
	Parts     map[string]*Half              `json:"parts"`          // own and other rows, routed together
	Bins      [][3]float64                  `json:"bins,omitempty"` // of the device's probability: mean, share right, rows
}

// Rank is an AUROC of "the device is right".
type Rank struct {
	AUROC  *float64 `json:"auroc"`             // all rows together
	Within *float64 `json:"auroc_within_user"` // mean over users
}

// Half is one part of the streams under crayon's routing of both.
type Half struct {
	Rows     int                `json:"rows"`
	Device   float64            `json:"device"`
	Server   float64            `json:"server"`
	Sent     map[string]float64 `json:"sent"`     // share of this part, by share sent in all
	Accuracy map[string]float64 `json:"accuracy"` // of this part
}

// shares that figures are told at, and places of the curves.
var (
	shares    = []float64{0.1, 0.3, 0.5}
	winShares = []float64{0.3, 0.5}
	places    = func() []float64 {
		out := make([]float64, 21)
		for i := range out {
			out[i] = float64(i) / 20
		}
		return out
	}()
)

// toldOrder is the order of the model that is told the task, best to send first;
// leastTold is the gain it must expect for a share of it to say anything.
const (
	toldOrder = "told"
	leastTold = 1e-4
)

func named(share float64) string { return fmt.Sprintf("%.1f", share) }

// bins of the calibration curve.
const bins = 15

// section judges the rows of a bout at places at.
func (b *bout) section(at []int, o *JudgeOptions) *Section {
	s := &Section{GainOverRandom: map[string]*float64{}, Won: map[string]*float64{}, WinnableShare: map[string]*float64{}, Area: map[string]*Figure{}, AreaOver: map[string]*Figure{},
		Accuracy: map[string]map[string]float64{}, Winnable: map[string]map[string]float64{}, Intervals: map[string]*Figure{}, Curves: map[string][]float64{}, Parts: map[string]*Half{}, Ranks: map[string]*Rank{}}
	if len(at) == 0 {
		return s
	}
	v := b.some(at)
	s.Rows, s.Device, s.Server = len(at), bench.Rounded(mean(v.device)), bench.Rounded(mean(v.server))
	either := 0.0
	for i := range v.device {
		either += max(v.device[i], v.server[i])
	}
	s.Either = bench.Rounded(either / float64(len(at)))
	orders := map[string][]int{}
	for _, r := range routers {
		order := v.order(r.score(v), o.Seed)
		if r.fitted {
			order = v.fairly(order)
		}
		if order != nil {
			orders[r.name] = order
		}
	}
	if told := v.order(difference(v.toldServer, v.toldDevice), o.Seed); told != nil {
		orders[toldOrder] = v.fairly(told)
	}
	samples := &sampled{figures: map[string][]float64{}}
	whole := v.measure(orders, nil)
	var sets, users []string
	for i := range v.rows {
		sets, users = append(sets, v.rows[i].Set), append(users, v.rows[i].User)
	}
	s.Users = len(byUser(count(len(at)), v.rows))
	bench.NestOf(sets, users).Resample(o.Resamples, o.Seed, func(_ int, times []int) { samples.add(v.measure(orders, times)) })
	figure := func(name string) *Figure {
		x, ok := whole[name]
		if !ok || math.IsNaN(x) {
			return nil
		}
		low, high := samples.interval(name)
		return &Figure{bench.Rounded(x), low, high}
	}
	for _, r := range routers {
		if orders[r.name] == nil {
			continue
		}
		s.Area[r.name] = figure("area " + r.name)
		if r.name != crayonRouter && r.name != oracleRouter {
			s.AreaOver[r.name] = figure("over " + r.name)
		}
	}
	for _, r := range routers {
		if orders[r.name] == nil {
			continue
		}
		w := walked(orders[r.name], v.device, v.server, nil, places)
		s.Accuracy[r.name], s.Winnable[r.name] = map[string]float64{}, map[string]float64{}
		for _, y := range w.at {
			s.Curves[r.name] = append(s.Curves[r.name], bench.Rounded(y))
		}
		for i, y := range walked(orders[r.name], v.device, v.server, nil, shares).at {
			s.Accuracy[r.name][named(shares[i])] = bench.Rounded(y)
			if x, ok := whole["winnable "+r.name+" "+named(shares[i])]; ok && !math.IsNaN(x) {
				s.Winnable[r.name][named(shares[i])] = bench.Rounded(x)
			}
		}
	}
	for name, y := range map[string]float64{alwaysDevice: s.Device, alwaysServer: s.Server} {
		s.Accuracy[name] = map[string]float64{}
		for _, x := range shares {
			s.Accuracy[name][named(x)] = y
		}
	}
	number := func(name string) *float64 {
		f := figure(name)
		if f == nil {
			return nil
		}
		s.Intervals[name] = f
		return &f.Value
	}
	s.AUROC, s.AUROCWithin, s.Scope = number("auroc"), number("auroc_within_user"), number("scope_auroc")
	s.ConfidenceAUROC, s.ConfidenceAUROCWithin = number("confidence_auroc"), number("confidence_auroc_within_user")
	s.WinnableBound = number("winnable_bound")
	for _, x := range shares {
		s.GainOverRandom[named(x)] = number("gain_over_random " + named(x))
		s.Won[named(x)] = number("won " + named(x))
	}
	for _, x := range winShares {
		s.WinnableShare[named(x)] = nil
		if f := figure("winnable " + crayonRouter + " " + named(x)); f != nil {
			s.Intervals["winnable_share "+named(x)] = f
			s.WinnableShare[named(x)] = &f.Value
		}
	}
	v.rankings(s)
	s.WithinUsers, s.ScopeUsers = int(whole["within_users"]), int(whole["scope_users"])
	if v.pDevice != nil {
		ece, skill := bench.Rounded(calibrate.ECE(v.pDevice, v.device, bins)), bench.Rounded(calibrate.BrierSkill(v.pDevice, v.device, users))
		s.ECE, s.BrierSkill, s.Bins = &ece, &skill, binned(v.pDevice, v.device)
	}
	if v.pServer != nil {
		ece := bench.Rounded(calibrate.ECE(v.pServer, v.server, bins))
		s.ServerECE = &ece
	}
	if order := orders[crayonRouter]; order != nil {
		s.halves(v, order)
	}
	return s
}

// measure is every figure with an interval; times as in walked.
func (b *bout) measure(orders map[string][]int, times []int) map[string]float64 {
	out := map[string]float64{}
	device, server := b.mean(b.device, times), b.mean(b.server, times)
	better := max(device, server)
	bound := math.NaN()
	if b.toldDevice != nil && b.toldServer != nil {
		most := make([]float64, len(b.rows))
		for i := range most {
			most[i] = max(b.toldDevice[i], b.toldServer[i])
		}
		bound = b.mean(most, times)
		out["winnable_bound"] = bound
	}
	var told []float64 // by share
	if order := orders[toldOrder]; order != nil {
		told = walked(order, b.toldDevice, b.toldServer, times, shares).at
		device, server := b.mean(b.toldDevice, times), b.mean(b.toldServer, times)
		for i := range told {
			told[i] -= device + shares[i]*(server-device)
		}
	}
	for _, r := range routers {
		order := orders[r.name]
		if order == nil {
			continue
		}
		w := walked(order, b.device, b.server, times, shares)
		out["area "+r.name] = w.area
		for i, y := range w.at {
			if r.name == crayonRouter {
				gain := y - device - shares[i]*(server-device)
				out["gain_over_random "+named(shares[i])] = gain
				if told != nil && told[i] > leastTold {
					out["won "+named(shares[i])] = gain / told[i]
				}
			}
			if bound > better+1e-6 {
				out["winnable "+r.name+" "+named(shares[i])] = (y - better) / (bound - better)
			}
		}
	}
	if a, ok := out["area "+crayonRouter]; ok {
		for _, r := range routers {
			if x, ok := out["area "+r.name]; ok && r.name != crayonRouter {
				out["over "+r.name] = a - x
			}
		}
	}
	put := func(name, users string, fitted bool, score, y []float64) {
		if score == nil {
			return
		}
		r := b.ranked(name, score, fitted)
		mean, n := within(r.users, score, y, times)
		if name != "scope_auroc" {
			out[name] = auroc(r.strata, score, y, times)
			out[name+"_within_user"] = mean
		} else {
			out[name] = mean
		}
		if users != "" && times == nil {
			out[users] = float64(n)
		}
	}
	put("auroc", "within_users", true, b.pDevice, b.device)
	put("confidence_auroc", "", false, b.once("choice_top"), b.device)
	put("scope_auroc", "scope_users", false, b.once(scopeAlone), b.owns())
	return out
}

// rankings says how well each router's number for the device tells what is right.
func (b *bout) rankings(s *Section) {
	for _, r := range routers {
		if r.device == nil {
			continue
		}
		score := r.device(b)
		if score == nil || math.IsNaN(score[0]) {
			continue
		}
		known := func(x float64) *float64 {
			if math.IsNaN(x) {
				return nil
			}
			x = bench.Rounded(x)
			return &x
		}
		k := b.rankOf(score, r.fitted)
		mean, _ := within(k.users, score, b.device, nil)
		s.Ranks[r.name] = &Rank{known(auroc(k.strata, score, b.device, nil)), known(mean)}
	}
}

// rank is an order by descending score in strata: folds, whose numbers are of one
// fit, and the folds of each user.
type rank struct {
	strata [][]int
	users  [][][]int
}

// ranked is the rank of a score, made once.
func (b *bout) ranked(name string, score []float64, fitted bool) rank {
	if b.ranks == nil {
		b.ranks = map[string]rank{}
	}
	r, ok := b.ranks[name]
	if !ok {
		r = b.rankOf(score, fitted)
		b.ranks[name] = r
	}
	return r
}

func (b *bout) rankOf(score []float64, fitted bool) rank {
	order := b.order(score, 0)
	strata := func(order []int) [][]int {
		if fitted {
			return b.strata(order)
		}
		return [][]int{order}
	}
	r := rank{strata: strata(order)}
	for _, mine := range byUser(order, b.rows) {
		r.users = append(r.users, strata(mine))
	}
	return r
}

// once is a signal, looked up once.
func (b *bout) once(name string) []float64 {
	if b.signals == nil {
		b.signals = map[string][]float64{}
	}
	if b.signals[name] == nil {
		b.signals[name] = b.signal(name)
	}
	if math.IsNaN(b.signals[name][0]) {
		return nil
	}
	return b.signals[name]
}

func (b *bout) owns() []float64 {
	if b.own == nil {
		b.own = make([]float64, len(b.rows))
		for i := range b.rows {
			if b.rows[i].Own {
				b.own[i] = 1
			}
		}
	}
	return b.own
}

func (b *bout) mean(x []float64, times []int) float64 {
	if times == nil {
		return mean(x)
	}
	var sum, n float64
	for i, t := range times {
		sum, n = sum+float64(t)*x[i], n+float64(t)
	}
	return sum / n
}

func mean(x []float64) float64 {
	var sum float64
	for _, v := range x {
		sum += v
	}
	return sum / float64(max(1, len(x)))
}

// some is the bout over the rows at places.
func (b *bout) some(at []int) *bout {
	pick := func(x []float64) []float64 {
		if x == nil {
			return nil
		}
		out := make([]float64, len(at))
		for k, i := range at {
			out[k] = x[i]
		}
		return out
	}
	v := &bout{bare: b.bare}
	for _, i := range at {
		v.rows = append(v.rows, b.rows[i])
	}
	v.device, v.server, v.pDevice, v.pServer = pick(b.device), pick(b.server), pick(b.pDevice), pick(b.pServer)
	v.earlyDevice, v.earlyServer, v.draftDevice, v.draftServer = pick(b.earlyDevice), pick(b.earlyServer), pick(b.draftDevice), pick(b.draftServer)
	v.rivalDevice, v.rivalServer, v.taskDevice, v.taskServer = pick(b.rivalDevice), pick(b.rivalServer), pick(b.taskDevice), pick(b.taskServer)
	v.toldDevice, v.toldServer = pick(b.toldDevice), pick(b.toldServer)
	if b.folds != nil {
		for _, i := range at {
			v.folds = append(v.folds, b.folds[i])
		}
	}
	return v
}

// halves tells own and other rows apart.
func (s *Section) halves(v *bout, order []int) {
	for _, own := range []bool{true, false} {
		name := map[bool]string{true: ownPart, false: otherPart}[own]
		h := &Half{Sent: map[string]float64{}, Accuracy: map[string]float64{}}
		var device, server float64
		for i := range v.rows {
			if v.rows[i].Own == own {
				h.Rows++
				device, server = device+v.device[i], server+v.server[i]
			}
		}
		if h.Rows == 0 {
			continue
		}
		n := float64(h.Rows)
		h.Device, h.Server = bench.Rounded(device/n), bench.Rounded(server/n)
		for _, share := range shares {
			var sent, right float64
			for k, i := range order {
				if v.rows[i].Own != own {
					continue
				}
				if leaves := float64(k) < share*float64(len(order)); leaves {
					sent, right = sent+1, right+v.server[i]
				} else {
					right += v.device[i]
				}
			}
			h.Sent[named(share)], h.Accuracy[named(share)] = bench.Rounded(sent/n), bench.Rounded(right/n)
		}
		s.Parts[name] = h
	}
}

// binned are bins of equal mass: mean probability, share right, rows.
func binned(p, y []float64) [][3]float64 {
	order := count(len(p))
	slices.SortStableFunc(order, func(i, j int) int {
		switch {
		case p[i] < p[j]:
			return -1
		case p[i] > p[j]:
			return 1
		}
		return 0
	})
	var out [][3]float64
	for b := range bins {
		lo, hi := b*len(order)/bins, (b+1)*len(order)/bins
		if lo == hi {
			continue
		}
		var sp, sy float64
		for _, i := range order[lo:hi] {
			sp, sy = sp+p[i], sy+y[i]
		}
		n := float64(hi - lo)
		out = append(out, [3]float64{bench.Rounded(sp / n), bench.Rounded(sy / n), n})
	}
	return out
}

func count(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// sampled are resamples of figures.
type sampled struct{ figures map[string][]float64 }

func (s *sampled) add(x map[string]float64) {
	for name, v := range x {
		if !math.IsNaN(v) {
			s.figures[name] = append(s.figures[name], v)
		}
	}
}

func (s *sampled) interval(name string) (low, high float64) {
	if len(s.figures[name]) == 0 {
		return 0, 0
	}
	low, high = bench.Interval(s.figures[name])
	return bench.Rounded(low), bench.Rounded(high)
}
