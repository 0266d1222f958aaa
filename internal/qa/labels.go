package qa

import "slices"

// LabelSet returns the choices that every row of a group (a data set, a
// subject, a user) has, whatever their order in a row, or nil when the rows'
// choices differ, repeat, there are none, or there are fewer than two rows to tell by.
// Order: that of the rows if they agree, else sorted, so that it depends on
// no row's position.
func LabelSet(rows []Row) []string {
	if len(rows) < 2 || len(rows[0].Choices) == 0 {
		return nil
	}
	first := rows[0].Choices
	sorted := slices.Sorted(slices.Values(first))
	if len(slices.Compact(slices.Clone(sorted))) != len(sorted) {
		return nil
	}
	same := true
	for i := range rows[1:] {
		c := rows[1+i].Choices
		if slices.Equal(c, first) {
			continue
		}
		if len(c) != len(first) || !slices.Equal(slices.Sorted(slices.Values(c)), sorted) {
			return nil
		}
		same = false
	}
	if same {
		return slices.Clone(first)
	}
	return sorted
}
