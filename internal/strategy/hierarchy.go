package strategy

import (
	"cmp"
	"maps"
	"math"
	"slices"
)

// group is one user's cases, with the weight that its data set leaves it.
type group struct {
	dataset, family string
	cases           []Case
	weight          float64
}

// weigh gives every data set the same weight, its users equal parts of it.
func weigh(groups []*group) {
	users := map[string]float64{}
	for _, g := range groups {
		users[g.dataset]++
	}
	for _, g := range groups {
		g.weight = 1 / users[g.dataset]
	}
}

// The hyperprior of a mean is normal about 0 with this deviation, in units of
// one data set; no spread is less than leastSigma, so that labels count.
const (
	widestMean = 1.0
	leastSigma = 0.03
	emSteps    = 25
	checkFolds = 5
)

// fitNormals learns the priors of a stack's coefficients from other users'
// rows, all of one kind: empirical Bayes by expectation maximisation, each
// user's posterior by Laplace. It also finds the scales. users' cases are of
// the raw features; they are not changed.
func fitNormals(names []string, groups []*group) ([]Normal, error) {
	weigh(groups)
	scale := deviations(len(names), groups)
	scaled := make([]*group, len(groups))
	for i, g := range groups {
		c := *g
		c.cases = make([]Case, len(g.cases))
		for r, x := range g.cases {
			c.cases[r] = Case{Gold: x.Gold, X: make([][]float64, len(x.X))}
			for j := range x.X {
				c.cases[r].X[j] = make([]float64, len(names))
				for k := range names {
					c.cases[r].X[j][k] = x.X[j][k] / scale[k]
				}
			}
		}
		scaled[i] = &c
	}
	mu, sigma := make([]float64, len(names)), make([]float64, len(names))
	for k := range sigma {
		if scale[k] != 1 || varies(k, groups) {
			sigma[k] = 0.5
		}
	}
	for range emSteps {
		var weight float64
		sum, square := make([]float64, len(mu)), make([]float64, len(mu))
		fits := make([]Fit, len(scaled))
		for i, g := range scaled {
			fit, err := FitLogit(g.cases, mu, sigma)
			if err != nil {
				return nil, err
			}
			fits[i] = fit
			weight += g.weight
			for k := range sum {
				sum[k] += g.weight * fit.Beta[k]
			}
		}
		next := make([]float64, len(mu))
		for k := range mu {
			next[k] = sum[k] / (weight + sigma[k]*sigma[k]/(widestMean*widestMean))
		}
		for i, g := range scaled {
			for k := range square {
				d := fits[i].Beta[k] - next[k]
				square[k] += g.weight * (d*d + fits[i].Variance[k])
			}
		}
		for k := range mu {
			if sigma[k] > 0 {
				mu[k], sigma[k] = next[k], max(leastSigma, math.Sqrt(square[k]/weight))
			}
		}
	}
	out := make([]Normal, len(names))
	for k, name := range names {
		out[k] = Normal{Feature: name, Mu: round(mu[k]), Sigma: round(sigma[k]), Scale: round(scale[k])}
	}
	return out, nil
}

func round(x float64) float64 { return math.Round(x*1e5) / 1e5 }

// deviations of the centred features, data sets alike; 1 for one that is always 0.
func deviations(n int, groups []*group) []float64 {
	sum, weight := make([]float64, n), 0.0
	for _, g := range groups {
		for _, c := range g.cases {
			w := g.weight / float64(len(g.cases)*len(c.X))
			for _, x := range c.X {
				weight += w
				for k, v := range x {
					sum[k] += w * v * v
				}
			}
		}
	}
	for k := range sum {
		if sum[k] = math.Sqrt(sum[k] / weight); !(sum[k] > 1e-4) {
			sum[k] = 1
		}
	}
	return sum
}

func varies(k int, groups []*group) bool {
	for _, g := range groups {
		for _, c := range g.cases {
			for _, x := range c.X {
				if math.Abs(x[k]) > 1e-4 {
					return true
				}
			}
		}
	}
	return false
}

// Learned is a prior and what it does on families that it was not learned on.
type Learned struct {
	Prior  *Prior
	Checks []Checked
}

// Checked is a stack at its prior's mean on left-out families, against the
// blend alone: macro means over data sets.
type Checked struct {
	Strategy        string
	Kind            Kind
	Users, Datasets int
	Accuracy, Blend float64 // share right
	Loss, BlendLoss float64 // of the softmax of the score; of RankScale times the blend's
}

// Learn makes a prior from other users' rows. What the rows say nothing of is
// as in was. fallback is the strategy that others are measured against; "" for
// the one of the least loss.
func Learn(rows []*Observed, was *Prior, fallback, note string) (*Learned, error) {
	p := &Prior{Note: note, Stack: map[string]map[Kind][]Normal{}, Choice: Choice{Default: was.Choice.Default, Kinds: map[Kind]map[string]Experience{}, Scope: was.Choice.Scope}}
	out := &Learned{Prior: p}
	for _, name := range slices.Sorted(maps.Keys(was.Stack)) {
		p.Stack[name] = map[Kind][]Normal{}
		for _, kind := range Kinds {
			p.Stack[name][kind] = was.Stack[name][kind]
			names := featuresOf(rows, kind, name)
			groups := groupsOf(rows, kind, names)
			if len(names) == 0 || len(groups) < 2 {
				continue
			}
			terms, err := fitNormals(names, groups)
			if err != nil {
				return nil, err
			}
			p.Stack[name][kind] = terms
			c, err := crossCheck(names, groups)
			if err != nil {
				return nil, err
			}
			c.Strategy, c.Kind = name, kind
			out.Checks = append(out.Checks, c)
		}
	}
	learnChoice(rows, p, was, fallback)
	return out, p.check()
}

// featuresOf are the features that rows of a kind have and a stack may read.
func featuresOf(rows []*Observed, kind Kind, name string) []string {
	for _, o := range rows {
		if o.Kind != kind || len(o.Features) == 0 {
			continue
		}
		has := slices.Contains(o.Features, passShots+"_mean")
		if name == "stack_shots" && !has {
			continue
		}
		var names []string
		for _, f := range o.Features {
			if _, known := featureOf(f); known && (name == "stack_shots" || f != passShots+"_mean") {
				names = append(names, f)
			}
		}
		return names
	}
	return nil
}

// groupsOf are the users of a kind whose rows have all the features named.
func groupsOf(rows []*Observed, kind Kind, names []string) []*group {
	of := map[string]*group{}
	var out []*group
	for _, o := range rows {
		if o.Kind != kind || len(o.X) < 2 {
			continue
		}
		at := make([]int, len(names))
		missing := false
		for k, n := range names {
			at[k] = slices.Index(o.Features, n)
			missing = missing || at[k] < 0
		}
		if missing {
			continue
		}
		g := of[o.User]
		if g == nil {
			g = &group{dataset: o.Dataset, family: o.Family}
			of[o.User] = g
			out = append(out, g)
		}
		c := Case{Gold: o.Gold, X: make([][]float64, len(o.X))}
		for j, x := range o.X {
			c.X[j] = make([]float64, len(names))
			for k := range names {
				c.X[j][k] = x[at[k]]
			}
		}
		g.cases = append(g.cases, c)
	}
	return out
}

// crossCheck learns on four fifths of the families and scores the others, in turn.
func crossCheck(names []string, groups []*group) (Checked, error) {
	c := Checked{Users: len(groups)}
	families, datasets := map[string]bool{}, map[string]bool{}
	for _, g := range groups {
		families[g.family] = true
		datasets[g.dataset] = true
	}
	c.Datasets = len(datasets)
	blend := slices.Index(names, passBlend+"_mean")
	var whole float64
	order := slices.Sorted(maps.Keys(families))
	for f := range checkFolds {
		var rest, own []*group
		for _, g := range groups {
			if slices.Index(order, g.family)%checkFolds == f {
				own = append(own, g)
			} else {
				rest = append(rest, g)
			}
		}
		if len(rest) == 0 || len(own) == 0 {
			continue
		}
		terms, err := fitNormals(names, rest)
		if err != nil {
			return c, err
		}
		weigh(own)
		for _, g := range own {
			w := g.weight / float64(len(g.cases))
			for _, x := range g.cases {
				scores, plain := make([]float64, len(x.X)), make([]float64, len(x.X))
				for j := range x.X {
					for k, t := range terms {
						scores[j] += t.Mu * x.X[j][k] / t.Scale
					}
					if blend >= 0 {
						plain[j] = RankScale * x.X[j][blend]
					}
				}
				whole += w
				c.Loss += w * RankLoss(scores, x.Gold, 1)
				c.BlendLoss += w * RankLoss(plain, x.Gold, 1)
				if Best(scores) == x.Gold {
					c.Accuracy += w
				}
				if Best(plain) == x.Gold {
					c.Blend += w
				}
			}
		}
	}
	if whole > 0 {
		c.Loss, c.BlendLoss, c.Accuracy, c.Blend = c.Loss/whole, c.BlendLoss/whole, c.Accuracy/whole, c.Blend/whole
	}
	return c, nil
}

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
			if _, err := Get(name); err == nil && len(s) == len(u.gold) && name != Chosen && name != ChosenAccuracy {
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
	if fallback == "" {
		best := math.Inf(1)
		for _, name := range all {
			if l := macroLoss(users, name, func(k Kind) float64 { return scales[string(k)+name] }); l < best {
				best, fallback = l, name
			}
		}
	}
	p.Choice.Default = fallback
	for _, kind := range Kinds {
		var here []*rival
		for _, u := range users {
			if u.kind == kind && u.whole(fallback) {
				here = append(here, u)
			}
		}
		if len(here) < 2 {
			if _, ok := p.Choice.Kinds[kind][fallback]; !ok && len(p.Choice.Kinds[kind]) > 0 {
				p.Choice.Kinds[kind][fallback] = Experience{Scale: 1, Noise: 1}
			}
			continue
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
	var here []*rival
	for _, u := range users {
		if u.kind == kind {
			here = append(here, u)
		}
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
	x := Experience{Scale: scale, Mean: round(mean), Spread: round(math.Sqrt(max(spread, 1e-4))), Noise: round(max(math.Sqrt(noise), 1e-2))}
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
