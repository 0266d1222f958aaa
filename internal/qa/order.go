package qa

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strconv"
)

// Key is the place of a row in the order of seed: sha256 over seed, data set,
// subject and id. It does not depend on the file's order or on other rows, so
// adding rows to a data set never reorders those that were there.
func Key(seed uint64, r *Row) [sha256.Size]byte {
	return Hash(seed, r.Dataset, r.Subject, r.ID)
}

// Hash is sha256 over seed and fields, each with its length.
func Hash(seed uint64, fields ...string) [sha256.Size]byte {
	return digest(append([]string{strconv.FormatUint(seed, 10)}, fields...)...)
}

// Shuffle puts rows into the order of seed, in place. Rows of one key keep
// their order.
func Shuffle(rows []Row, seed uint64) {
	shuffle(rows, seed, func(r *Row) *Row { return r })
}

func shuffle[T any](items []T, seed uint64, row func(*T) *Row) {
	type keyed struct {
		key  [sha256.Size]byte
		item T
	}
	ks := make([]keyed, len(items))
	for i := range items {
		ks[i] = keyed{Key(seed, row(&items[i])), items[i]}
	}
	slices.SortStableFunc(ks, func(a, b keyed) int { return bytes.Compare(a.key[:], b.key[:]) })
	for i := range ks {
		items[i] = ks[i].item
	}
}
