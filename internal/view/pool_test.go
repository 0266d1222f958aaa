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
