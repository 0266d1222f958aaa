package strategy

import (
	"cmp"
	"maps"
	"math"
	"slices"
)

// rival is one strategy's scores of one user's rows.
type rival struct {
	user, dataset string
	kind          Kind
	scope         float64
	scores        map[string][][]float64
	gold          []int
}

// learnChoice learns how strategies do on other users' tasks.
func learnChoice(rows []*Observed, p, was *Prior, fallback string) {
	for _, kind := range Kinds {
		p.Choice.Kinds[kind] = maps.Clone(was.Choice.Kinds[kind])
	}
	of := map[string]*rival{}
	var users []*rival
	for _, o := range rows {
		if len(o.Scores) == 0 {
			continue
		}
		u := of[o.User]
		if u == nil {
			u = &rival{user: o.User, dataset: o.Dataset, kind: o.Kind, scope: o.Scope, scores: map[string][][]float64{}}
			of[o.User] = u
			users = append(users, u)
		}
		u.gold = append(u.gold, o.Gold)
		for name, s := range o.Scores {
			u.scores[name] = append(u.scores[name], s)
		}
	}
	names := map[string]bool{}
	for _, u := range users {
		for name, s := range u.scores {
			if _, err := Get(name); err == nil && len(s) == len(u.gold) && !Selects(name) {
				names[name] = true
			}
		}
	}
	if len(names) == 0 {
		return
	}
	all := slices.Sorted(maps.Keys(names))
	scales := map[string]float64{}
	for _, kind := range Kinds {
		for _, name := range all {
			scales[string(kind)+name] = bestScale(users, kind, name)
		}
	}
	if !names[fallback] {
		fallback = leastLoss(users, all, scales)
	}
	p.Choice.Default = fallback
	for _, kind := range Kinds {
		here := ofKind(users, kind, fallback)
		if len(here) < fewestUsers {
			here = ofKind(users, "", fallback)
		}
		learned := map[string]Experience{}
		for _, name := range all {
			if x, ok := experience(here, name, scales[string(kind)+name], fallback, scales[string(kind)+fallback]); ok {
				learned[name] = x
			}
		}
		p.Choice.Kinds[kind] = learned
	}
	if s, ok := bestScope(users); ok {
		p.Choice.Scope = s
	}
}

// leastLoss is the strategy of the least loss on the users that all have
// scored, if there are any.
func leastLoss(users []*rival, names []string, scales map[string]float64) string {
	common := slices.DeleteFunc(slices.Clone(users), func(u *rival) bool {
		return slices.ContainsFunc(names, func(name string) bool { return !u.whole(name) })
	})
	if len(common) > 0 {
		users = common
	}
	least, best := math.Inf(1), ""
	for _, name := range names {
		if l := macroLoss(users, name, func(k Kind) float64 { return scales[string(k)+name] }); l < least {
			least, best = l, name
		}
	}
	return best
}

// ofKind are the users of a kind, "" for any, that a strategy scored whole.
func ofKind(users []*rival, kind Kind, name string) []*rival {
	var out []*rival
	for _, u := range users {
		if (kind == "" || u.kind == kind) && u.whole(name) {
			out = append(out, u)
		}
	}
	return out
}

func (u *rival) whole(name string) bool { return len(u.gold) > 0 && len(u.scores[name]) == len(u.gold) }

// losses of a strategy on the user's rows.
func (u *rival) losses(name string, scale float64) []float64 {
	out := make([]float64, len(u.gold))
	for i, g := range u.gold {
		out[i] = RankLoss(u.scores[name][i], g, scale)
	}
	return out
}

func average(x []float64) float64 {
	var s float64
	for _, v := range x {
		s += v
	}
	return s / float64(max(1, len(x)))
}

// macroLoss is a strategy's mean over data sets of means over users.
func macroLoss(users []*rival, name string, scale func(Kind) float64) float64 {
	sum, n := map[string]float64{}, map[string]float64{}
	for _, u := range users {
		if u.whole(name) {
			sum[u.dataset] += average(u.losses(name, scale(u.kind)))
			n[u.dataset]++
		}
	}
	var whole float64
	for _, d := range slices.Sorted(maps.Keys(sum)) {
		whole += sum[d] / n[d]
	}
	if len(sum) == 0 {
		return math.Inf(1)
	}
	return whole / float64(len(sum))
}

// bestScale of a strategy's scores for users of a kind, of a geometric grid.
func bestScale(users []*rival, kind Kind, name string) float64 {
	here := ofKind(users, kind, name)
	if len(here) < fewestUsers {
		here = ofKind(users, "", name)
	}
	best, at := math.Inf(1), 1.0
	for e := -16; e <= 8; e++ {
		s := math.Pow(2, float64(e)/4)
		if l := macroLoss(here, name, func(Kind) float64 { return s }); l < best {
			best, at = l, s
		}
	}
	return round(at)
}

// leastSpread is the least deviation of users' true advantages that is believed:
// a few data sets of one family may agree by chance.
const leastSpread = 0.03

// experience of a strategy against another over users, data sets alike: the
// spread of the true advantages is what their deviation has beyond the noise.
func experience(users []*rival, name string, scale float64, other string, otherScale float64) (Experience, bool) {
	n := map[string]float64{}
	for _, u := range users {
		if u.whole(name) {
			n[u.dataset]++
		}
	}
	if len(n) == 0 {
		return Experience{}, false
	}
	type seen struct{ weight, mean, noise, rows float64 }
	var all []seen
	var mean, noise float64
	for _, u := range users {
		if !u.whole(name) {
			continue
		}
		ours, theirs := u.losses(name, scale), u.losses(other, otherScale)
		d := make([]float64, len(ours))
		for i := range d {
			d[i] = theirs[i] - ours[i]
		}
		m, v := average(d), 0.0
		for _, x := range d {
			v += (x - m) * (x - m) / float64(max(1, len(d)-1))
		}
		s := seen{1 / n[u.dataset] / float64(len(n)), m, v, float64(len(d))}
		all = append(all, s)
		mean += s.weight * m
		noise += s.weight * v
	}
	var spread float64
	for _, s := range all {
		spread += s.weight * ((s.mean-mean)*(s.mean-mean) - noise/s.rows)
	}
	x := Experience{Scale: scale, Mean: round(mean), Spread: round(math.Sqrt(max(spread, leastSpread*leastSpread))), Noise: round(max(math.Sqrt(noise), 1e-2))}
	if name == other {
		x.Mean, x.Spread = 0, 0
	}
	return x, true
}

// bestScope is where blend is to give way to the shared adapter for users
// without labels: the cut of the least loss, among the users' own scopes.
func bestScope(users []*rival) (float32, bool) {
	type point struct{ scope, advantage float64 }
	var points []point
	for _, u := range users {
		if u.scope != 0 && u.whole("blend") && u.whole("shared") {
			points = append(points, point{u.scope, average(u.losses("shared", 1)) - average(u.losses("blend", 1))})
		}
	}
	if len(points) < 10 {
		return 0, false
	}
	slices.SortFunc(points, func(a, b point) int { return cmp.Compare(a.scope, b.scope) })
	var total float64
	for _, x := range points {
		total += x.advantage
	}
	best, at := total, -1.0
	for i, x := range points {
		if total -= x.advantage; total > best {
			best = total
			if at = 1; i+1 < len(points) {
				at = (x.scope + points[i+1].scope) / 2
			}
		}
	}
	return float32(round(at)), true
}
