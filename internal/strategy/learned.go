package strategy

import (
	"maps"
	"slices"
)

// Learned is a prior and what it does on families that it was not learned on.
type Learned struct {
	Prior  *Prior
	Checks []Checked
}

// Checked is a stack on families that its prior was not learned on: macro means
// over data sets of a user's rows.
type Checked struct {
	Strategy        string
	Kind            Kind
	Users, Datasets int
	Fitted          Reached // to as many other rows of the user as the user has examples
	Mean            Reached // as the prior's mean has it
	Centre          Reached // by the coefficients that all stacks are thought to lie about
}

// Reached is the share of rows that are right and the ranking loss.
type Reached struct{ Accuracy, Loss float64 }

func (r *Reached) add(weight float64, scores []float64, gold int) {
	r.Loss += weight * RankLoss(scores, gold, 1)
	if Best(scores) == gold {
		r.Accuracy += weight
	}
}

// Learn makes a prior from other users' rows. A kind that few of them are of
// is learned from all; what they say nothing of is as in was. fallback is the
// strategy that others are measured against; where no row has it, that of the
// least loss.
func Learn(rows []*Observed, was *Prior, fallback, note string) (*Learned, error) {
	p := &Prior{Note: note, Stack: map[string]map[Kind][]Normal{}, Choice: Choice{Default: was.Choice.Default, Kinds: map[Kind]map[string]Experience{}, Scope: was.Choice.Scope}}
	out := &Learned{Prior: p}
	made := map[*Observed]map[string][]float64{}
	for _, name := range slices.Sorted(maps.Keys(was.Stack)) {
		p.Stack[name] = map[Kind][]Normal{}
		for _, kind := range Kinds {
			p.Stack[name][kind] = was.Stack[name][kind]
			names := featuresOf(rows, name)
			groups := groupsOf(rows, kind, names)
			of := len(groups) >= fewestUsers
			if !of {
				groups = groupsOf(rows, "", names)
			}
			if len(names) == 0 || len(groups) < fewestUsers {
				continue
			}
			terms, err := fitNormals(names, groups)
			if err != nil {
				return nil, err
			}
			p.Stack[name][kind] = terms
			if !of {
				continue
			}
			c, err := crossCheck(name, names, groups, groupsOf(rows, "", names), made)
			if err != nil {
				return nil, err
			}
			c.Strategy, c.Kind = name, kind
			out.Checks = append(out.Checks, c)
		}
	}
	learnChoice(replaced(rows, made), p, was, fallback)
	return out, p.check()
}

// fewestUsers of a kind are learned from apart.
const fewestUsers = 2

// featuresOf are the features that rows have and a stack may read.
func featuresOf(rows []*Observed, name string) []string {
	for _, o := range rows {
		if len(o.Features) == 0 {
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

// groupsOf are the users of a kind, "" for any, whose rows have all the features named.
func groupsOf(rows []*Observed, kind Kind, names []string) []*group {
	of := map[string]*group{}
	var out []*group
	for _, o := range rows {
		if kind != "" && o.Kind != kind || len(o.X) < 2 {
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
			g = &group{user: o.User, dataset: o.Dataset, family: o.Family, examples: o.Examples}
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
		g.rows, g.cases = append(g.rows, o), append(g.cases, c)
	}
	return out
}

// crossCheck learns without each family in turn, and scores its users' rows by
// stacks that are fitted to others of the same user: what they are worth where
// neither the prior nor the fit has seen the row. For the only family of a kind
// it learns from the other kinds, all being the users of any. The scores go into
// made.
func crossCheck(stack string, names []string, groups, all []*group, made map[*Observed]map[string][]float64) (Checked, error) {
	c := Checked{Users: len(groups)}
	families, datasets := map[string]bool{}, map[string]bool{}
	for _, g := range groups {
		families[g.family] = true
		datasets[g.dataset] = true
	}
	c.Datasets = len(datasets)
	var whole float64
	for _, family := range slices.Sorted(maps.Keys(families)) {
		own, rest := byFamily(groups, family)
		if len(rest) < fewestUsers {
			_, rest = byFamily(all, family)
		}
		if len(rest) < fewestUsers {
			continue
		}
		terms, err := fitNormals(names, rest)
		if err != nil {
			return c, err
		}
		weigh(own)
		for _, g := range own {
			fitted, average, err := g.fewShot(terms)
			if err != nil {
				return c, err
			}
			w := g.weight / float64(len(g.cases))
			for i, x := range g.cases {
				alone := make([]float64, len(x.X))
				for j := range x.X {
					for k, name := range names {
						alone[j] += centre[name] * x.X[j][k]
					}
				}
				whole += w
				c.Fitted.add(w, fitted[i], x.Gold)
				c.Mean.add(w, average[i], x.Gold)
				c.Centre.add(w, alone, x.Gold)
				if made[g.rows[i]] == nil {
					made[g.rows[i]] = map[string][]float64{}
				}
				made[g.rows[i]][stack] = fitted[i]
			}
		}
	}
	for _, r := range []*Reached{&c.Fitted, &c.Mean, &c.Centre} {
		if whole > 0 {
			r.Accuracy, r.Loss = r.Accuracy/whole, r.Loss/whole
		}
	}
	return c, nil
}

// byFamily are the users of a family and all others.
func byFamily(groups []*group, family string) (own, rest []*group) {
	for _, g := range groups {
		if g.family == family {
			own = append(own, g)
		} else {
			rest = append(rest, g)
		}
	}
	return own, rest
}

// fewShot scores each of the user's rows by a stack that is fitted to as many
// of the others as the user has examples, half of all at most, and at the mean.
// The rows are dealt into parts in order; each is scored by a fit to the rows
// before it, those of the first by one to the last.
func (g *group) fewShot(terms []Normal) (fitted, average [][]float64, err error) {
	mu, sigma := make([]float64, len(terms)), make([]float64, len(terms))
	for k, t := range terms {
		mu[k], sigma[k] = t.Mu, t.Sigma
		if f, ok := featureOf(t.Feature); ok && f.held {
			sigma[k] = 0
		}
	}
	scaled := make([]Case, len(g.cases))
	for i, c := range g.cases {
		scaled[i] = Case{Gold: c.Gold, X: make([][]float64, len(c.X))}
		for j, x := range c.X {
			scaled[i].X[j] = make([]float64, len(terms))
			for k, t := range terms {
				scaled[i].X[j][k] = x[k] / t.Scale
			}
		}
		average = append(average, scoresOf(scaled[i].X, mu))
	}
	n := len(scaled)
	part := min(g.examples, n/2)
	if part == 0 {
		return average, average, nil
	}
	around := append(slices.Clone(scaled), scaled...)
	for at := 0; at < n; at += part {
		fit, err := FitLogit(around[n+at-part:n+at], mu, sigma)
		if err != nil {
			return nil, nil, err
		}
		for i := at; i < min(at+part, n); i++ {
			fitted = append(fitted, scoresOf(scaled[i].X, fit.Beta))
		}
	}
	return fitted, average, nil
}

// replaced are the rows with the stacks' scores as they are on families and
// rows not seen. Those that were observed came of a prior that may have seen
// both, and are dropped.
func replaced(rows []*Observed, made map[*Observed]map[string][]float64) []*Observed {
	stacks := map[string]bool{}
	for _, m := range made {
		for name := range m {
			stacks[name] = true
		}
	}
	out := make([]*Observed, len(rows))
	for i, o := range rows {
		c := *o
		c.Scores = map[string][]float64{}
		for name, scores := range o.Scores {
			if len(scores) == 1 || !stacks[name] { // of one candidate nothing is made
				c.Scores[name] = scores
			}
		}
		maps.Copy(c.Scores, made[o])
		out[i] = &c
	}
	return out
}
