package view

import (
	"bytes"
	"fmt"
	"image/png"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/fault"
	"crayon/internal/paint"
	"crayon/internal/pool"
)

// crowd is a map of n adapters and data sets that crowd together.
func crowd(n int) *pool.Map {
	m := &pool.Map{Explained: [2]float64{0.3, 0.2}}
	for i := range n {
		angle := float64(i)
		m.Spots = append(m.Spots, pool.Spot{Name: fmt.Sprintf("red-%d", i), Kind: pool.AdapterSpot, X: math.Cos(angle), Y: math.Sin(angle) / 3, Size: 10 * i})
		m.Spots = append(m.Spots, pool.Spot{Name: fmt.Sprintf("data_set_%d", i), Kind: pool.SetSpot, X: math.Cos(angle) / 2, Y: math.Sin(angle) / 4, Size: 5, Nearest: fmt.Sprintf("red-%d", i)})
		m.Spots = append(m.Spots, pool.Spot{Name: fmt.Sprintf("data_set_%d/x", i), Kind: pool.SubjectSpot, X: math.Cos(angle), Y: math.Sin(angle) / 4, Size: 5, Nearest: "red-0"})
	}
	return m
}

// No label lies over another or leaves the paper, and with room all are there.
func TestLabelsDoNotOverlap(t *testing.T) {
	for _, n := range []int{1, 8, 20, 60} {
		m := crowd(n)
		at, radius := layout(m)
		var want []label
		for i, s := range m.Spots {
			want = append(want, label{of: i, text: s.Name, width: 50, height: 10, urgent: s.Kind == pool.AdapterSpot})
		}
		paper := box{0, 0, mapWidth, mapHeight}
		got := place(want, at, radius, nil, lines(m, at), paper)
		if n <= 8 {
			require.Len(t, got, len(want))
		}
		for i, a := range got {
			require.True(t, a.box.inside(paper))
			for _, b := range got[:i] {
				require.Zero(t, a.box.over(b.box), "%s and %s", a.text, b.text)
			}
		}
	}
}

func TestDrawMap(t *testing.T) {
	m := crowd(8)
	svg, err := DrawMap(m, "a pool", "map.svg")
	require.NoError(t, err)
	require.Contains(t, string(svg), "</svg>")
	require.Equal(t, 8, strings.Count(string(svg), ">data_set_"))
	again, err := DrawMap(m, "a pool", "map.svg")
	require.NoError(t, err)
	require.Equal(t, svg, again)
	raster, err := DrawMap(m, "a pool", "MAP.PNG")
	require.NoError(t, err)
	img, err := png.Decode(bytes.NewReader(raster))
	require.NoError(t, err)
	require.Greater(t, img.Bounds().Dx(), 600)
	_, err = DrawMap(m, "a pool", "map.jpg")
	require.Equal(t, fault.ExitUsage, fault.Code(err))
	for _, few := range []*pool.Map{{}, crowd(1)} { // nothing to scale by
		_, err = DrawMap(few, "little", "map.png")
		require.NoError(t, err)
	}
	if to := os.Getenv("CRAYON_TEST_PICTURES"); to != "" {
		require.NoError(t, os.WriteFile(to+"/crowd.png", raster, 0o600))
	}
}

func TestMapText(t *testing.T) {
	var b strings.Builder
	MapText(&b, paint.Style{}, crowd(8))
	require.Contains(t, b.String(), "red-7")
	require.Contains(t, b.String(), "data_set_0")
	for _, line := range strings.Split(b.String(), "\n") {
		require.LessOrEqual(t, len([]rune(line)), 80)
	}
	b.Reset()
	MapText(&b, paint.Style{Colour: true, Width: 100}, crowd(8))
	require.Contains(t, b.String(), "\x1b[")
	b.Reset()
	MapText(&b, paint.Style{}, &pool.Map{})
	require.Empty(t, b.String())
}

func TestHealthText(t *testing.T) {
	h := &pool.Health{Blended: 2, Effective: 1.5, Shared: 1.7, Redundancy: 0.7, Alike: [2]string{"red", "blue"}, Dead: []string{"blue"},
		Members: []pool.MemberHealth{{Name: "shared", Shared: true, Norm: 4, Share: 1, Rank: 8, EffectiveRank: 6.5}, {Name: "red", Norm: 2, Share: 1.9, Rank: 3, EffectiveRank: 2.5, Nearest: 0.4}, {Name: "blue", Rank: 3, Dead: "its product is zero"}},
		Cosine:  [][]float64{{1, 0.1, 0}, {0.1, 1, -0.7}, {0, -0.7, 1}}}
	var b strings.Builder
	Health(&b, paint.Style{}, h, map[string]float64{"red": 2.5})
	for _, s := range []string{"2 blended adapters, as different as 1.5; most alike red and blue (cosine 0.70); dead: blue", "2.5 of 3", "2.500", "dead: its product is zero", "  red     10   . -70\n"} {
		require.Contains(t, b.String(), s)
	}
	b.Reset()
	Health(&b, paint.Style{Colour: true}, h, nil)
	require.NotContains(t, b.String(), "effect")
	require.Contains(t, b.String(), "\x1b[48;2;")
	// With too many for a table, the pairs that are most alike.
	for i := range 20 {
		h.Members = append(h.Members, pool.MemberHealth{Name: fmt.Sprintf("m%d", i)})
	}
	n := len(h.Members)
	h.Cosine = make([][]float64, n)
	for i := range h.Cosine {
		h.Cosine[i] = make([]float64, n)
	}
	h.Cosine[2][5], h.Cosine[5][2] = -0.9, -0.9
	b.Reset()
	Health(&b, paint.Style{}, h, nil)
	require.Contains(t, b.String(), "  -90  blue, m2\n")
}
