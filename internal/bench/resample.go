package bench

import "math/rand/v2"

// Nest is the places of rows, by user and data set: [set][user][row].
type Nest [][][]int

// NestOf groups rows by the data set and the user of each, in the order they come.
func NestOf(sets, users []string) Nest {
	var out Nest
	setAt, userAt := map[string]int{}, map[[2]string]int{}
	for i, set := range sets {
		s, ok := setAt[set]
		if !ok {
			s = len(out)
			setAt[set] = s
			out = append(out, nil)
		}
		key := [2]string{set, users[i]}
		u, ok := userAt[key]
		if !ok {
			u = len(out[s])
			userAt[key] = u
			out[s] = append(out[s], nil)
		}
		out[s][u] = append(out[s][u], i)
	}
	return out
}

// Resample is the bootstrap for figures that are no means of rows, such as an
// area: it draws data sets, in each of them users, in each of them rows, all with
// replacement, and calls f with how often each row was drawn. f must not keep
// times.
func (n Nest) Resample(resamples int, seed uint64, f func(resample int, times []int)) {
	rows := 0
	for _, set := range n {
		for _, user := range set {
			rows += len(user)
		}
	}
	rng := rand.New(rand.NewPCG(seed, 0x6e657374))
	times := make([]int, rows)
	for b := range resamples {
		clear(times)
		for range n {
			set := n[rng.IntN(len(n))]
			for range set {
				user := set[rng.IntN(len(set))]
				for range user {
					times[user[rng.IntN(len(user))]]++
				}
			}
		}
		f(b, times)
	}
}

// Interval is where 95 % of a figure's resamples lie; it sorts them.
func Interval(samples []float64) (low, high float64) { return interval(samples) }

// Rounded keeps six decimals, so that figures made on another processor, whose
// last bits may differ, are equal.
func Rounded(x float64) float64 { return figure(x) }

// Differs names the first place where two values differ as JSON; "" if none does.
func Differs(want, got any) (string, error) {
	a, err := generic(want)
	if err != nil {
		return "", err
	}
	b, err := generic(got)
	if err != nil {
		return "", err
	}
	return differs("", a, b), nil
}

// Here is where and with what a run is made; device is the accelerator, if one
// scores.
func Here(device string) Environment { return environment(device) }

// All are the users of the folder, selected or not.
func (p *Population) All() []*User { return p.all }
