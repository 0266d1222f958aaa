// Package benchhybrid measures what a router between the device LLM and a server
// LLM is worth. First rows are collected, on the device and from the server, and
// kept; then routers are judged from what is kept alone.
package benchhybrid

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	"crayon/internal/bench"
	"crayon/internal/qa"
)

// ownShare of a user's queries are of its own task; the others are rows of other
// families.
const ownShare = 0.7

// query is one of a stream.
type query struct {
	row    qa.Row
	family string
	own    bool
}

// ownRows is how many of n queries are the user's own.
func ownRows(n int) int { return max(1, int(math.Round(ownShare*float64(n)))) }

// stream is a user's queries, its own first: its scored rows, and as many rows of
// other families as keep the share, from one data set after the other in an
// order of the seed's. A population without a second family has none of those.
func stream(p *bench.Population, u *bench.User, n int, seed uint64) []query {
	scored := u.Scored()
	own := min(ownRows(n), len(scored))
	out := make([]query, 0, n)
	for _, r := range scored[:own] {
		out = append(out, query{r, u.Family, true})
	}
	type stranger struct {
		user *bench.User
		key  [32]byte
	}
	of := map[string][]stranger{}
	var sets []string
	for _, v := range p.All() {
		if v.Family == u.Family || v.Dataset == u.Dataset {
			continue
		}
		if of[v.Dataset] == nil {
			sets = append(sets, v.Dataset)
		}
		of[v.Dataset] = append(of[v.Dataset], stranger{v, qa.Hash(seed, "stranger", u.Name, v.Name)})
	}
	if len(sets) == 0 {
		return out
	}
	slices.SortFunc(sets, func(a, b string) int {
		ka, kb := qa.Hash(seed, "strange set", u.Name, a), qa.Hash(seed, "strange set", u.Name, b)
		return bytes.Compare(ka[:], kb[:])
	})
	for _, of := range of {
		slices.SortFunc(of, func(a, b stranger) int { return bytes.Compare(a.key[:], b.key[:]) })
	}
	taken := map[string]bool{}
	others := int(math.Round(float64(own) * (1 - ownShare) / ownShare))
	for turn := 0; others > 0 && turn < 1<<12; turn++ {
		in := of[sets[turn%len(sets)]]
		s := in[turn/len(sets)%len(in)]
		rows := s.user.Scored()
		key := qa.Hash(seed, "strange row", u.Name, s.user.Name, fmt.Sprint(turn))
		r := rows[(int(key[0])<<16|int(key[1])<<8|int(key[2]))%len(rows)]
		if id := s.user.Name + "\x00" + r.ID; !taken[id] {
			taken[id] = true
			out = append(out, query{r, s.user.Family, false})
			others--
		}
	}
	return out
}
