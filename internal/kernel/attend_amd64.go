package kernel

var (
	attend512 = []attendShape{{1, 64}, {2, 64}, {3, 64}, {4, 64}, {6, 64}}
	attend2   = []attendShape{{1, 64}, {2, 32}, {4, 16}}
)

// attendLevel gives the shapes of the level in use and where they begin; none
// for Plain.
func attendLevel() (shapes []attendShape, at int) {
	switch Current() {
	case AVX512:
		return attend512, 0
	case Plain:
		return nil, 0
	}
	return attend2, 3 * len(attend512)
}
