package pooltrain

import (
	"context"
	"fmt"
	"slices"

	"crayon/internal/fault"
	"crayon/internal/kernel"
	"crayon/internal/pool"
)

// Clustering is how rows fall into N groups, judged on a third of them by
// groups found in the other two.
type Clustering struct {
	N         int     `json:"n"`
	Cohesion  float64 `json:"cohesion"`  // mean cosine of an unseen row with its nearest centroid
	Stability float64 `json:"stability"` // adjusted Rand index of two clusterings' groups of unseen rows: 1 the same, 0 chance
	Smallest  float64 `json:"smallest"`  // share of the unseen rows in the smallest group
}

// Clusters is a report of how many adapters a recipe's data ask for.
type Clusters struct {
	Rows   int          `json:"rows"`
	Tried  []Clustering `json:"tried"`
	Chosen int          `json:"chosen"`
	Groups []Group      `json:"groups"` // of the chosen number, over all rows
}

// Group is one cluster.
type Group struct {
	Rows   int      `json:"rows"`
	Covers []string `json:"covers"` // data sets most of its rows are from
}

// clusterNumbers are the numbers of adapters that are tried.
var clusterNumbers = []int{2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64}

// leastStable is the share of the best stability that a number of groups must
// have to be chosen: more adapters say more, if the groups are there at all.
const leastStable = 0.9

// perGroup is how many rows a group needs on average to be tried.
const perGroup = 30

// Survey clusters at most `most` rows of a recipe's data (0: all) into different
// numbers of groups. Two clusterings of different thirds are compared on the
// last third: groups that are in the data recur (Ben-Hur et al. 2002). The
// largest number whose stability is at least 0.9 of the best is chosen.
func Survey(ctx context.Context, o Options, most int) (*Clusters, error) {
	r, err := start(ctx, o)
	if err != nil {
		return nil, err
	}
	defer r.model.Close()
	if err := r.rows(); err != nil {
		return nil, err
	}
	if most > 0 && len(r.picked) > most {
		r.picked = r.picked[:most] // they are in the seed's order
	}
	if err := r.features(); err != nil {
		return nil, err
	}
	team := kernel.NewTeam(r.o.Workers)
	defer team.Close()
	c := &Clusters{Rows: len(r.picked)}
	seed := o.Recipe.Rows.Seed
	for i, n := range clusterNumbers {
		if 3*n*perGroup > len(r.directions)*2 && i > 0 {
			break
		}
		r.stage("clusters", i, len(clusterNumbers))
		c.Tried = append(c.Tried, recur(team, r.directions, n, seed))
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	c.Chosen = chooseN(c.Tried)
	if c.Chosen > len(r.directions) {
		return nil, &fault.Error{Op: "survey data", Path: "recipe", Err: fmt.Errorf("%d rows are too few", len(r.directions)), Exit: fault.ExitUsage, Hint: "raise the recipe's caps"}
	}
	r.centroids, r.of = kmeans(team, r.directions, c.Chosen, 40, seed)
	for i := range r.centroids {
		rows, covers := r.covers(i)
		c.Groups = append(c.Groups, Group{rows, covers})
	}
	return c, nil
}

func chooseN(tried []Clustering) int {
	best := 0.0
	for _, t := range tried {
		best = max(best, t.Stability)
	}
	chosen := tried[0].N
	for _, t := range tried {
		if t.Stability >= leastStable*best {
			chosen = t.N
		}
	}
	return chosen
}

// recur clusters the first and the second third of x and compares them on the last.
func recur(team *kernel.Team, x [][]float32, n int, seed uint64) Clustering {
	third := len(x) / 3
	a, b := tightest(team, x[:third], n, seed), tightest(team, x[third:2*third], n, seed+1)
	unseen := x[2*third:]
	ofA, ofB := make([]int, len(unseen)), make([]int, len(unseen))
	count := make([]int, n)
	var cohesion float64
	for i, v := range unseen {
		var near float32
		ofA[i], near = nearestTo(v, a)
		cohesion += float64(near)
		count[ofA[i]]++
		ofB[i], near = nearestTo(v, b)
		cohesion += float64(near)
	}
	m := float64(len(unseen))
	return Clustering{N: n, Cohesion: cohesion / (2 * m), Stability: adjustedRand(ofA, ofB, n), Smallest: float64(slices.Min(count)) / m}
}

// restarts of k-means, whose one result may be a poor one.
const restarts = 6

// tightest are the centroids with the largest mean cosine to their rows of a
// few clusterings.
func tightest(team *kernel.Team, x [][]float32, n int, seed uint64) (best [][]float32) {
	most := -2.0
	for k := range uint64(restarts) {
		centroids, of := kmeans(team, x, n, 40, seed+k<<32)
		var sum float64
		for i, v := range x {
			sum += float64(kernel.Dot(v, centroids[of[i]]))
		}
		if mean := sum / float64(len(x)); mean > most {
			most, best = mean, centroids
		}
	}
	return best
}

func nearestTo(v []float32, centroids [][]float32) (best int, cosine float32) {
	cosine = -2
	for j, c := range centroids {
		if s := pool.Cosine(v, c); s > cosine {
			best, cosine = j, s
		}
	}
	return best, cosine
}

// adjustedRand is the Rand index of two groupings into n groups, corrected for
// chance (Hubert and Arabie 1985).
func adjustedRand(a, b []int, n int) float64 {
	table := make([]int, n*n)
	rows, columns := make([]int, n), make([]int, n)
	for i := range a {
		table[a[i]*n+b[i]]++
		rows[a[i]]++
		columns[b[i]]++
	}
	pairs := func(counts []int) (s float64) {
		for _, c := range counts {
			s += float64(c) * float64(c-1) / 2
		}
		return s
	}
	together, ra, rb := pairs(table), pairs(rows), pairs(columns)
	all := float64(len(a)) * float64(len(a)-1) / 2
	if all == 0 {
		return 0
	}
	expected, most := ra*rb/all, (ra+rb)/2
	if most == expected {
		return 1 // one group in both
	}
	return (together - expected) / (most - expected)
}
