package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"crayon/internal/half"

	"pgregory.net/rapid"
)

// scheme is a way that files scale blocks, and the scaling it must lead to.
type scheme struct {
	name  string
	make  func(r *rand.Rand, b *Block)
	want  scaling
	eight bool
}

func rounded(f float32) float32 { return half.Float32(half.Bits(f)) }

var schemes = []scheme{
	{"q4_0", func(r *rand.Rand, b *Block) { b.D = rounded(float32(r.NormFloat64())); b.M = -8 * b.D }, scaleShift, false},
	{"q4_1", func(r *rand.Rand, b *Block) {
		b.D, b.M = rounded(r.Float32()), rounded(float32(r.NormFloat64()))
	}, scaleHalf, false},
	{"four bits, float", func(r *rand.Rand, b *Block) { b.D, b.M = r.Float32()/3, float32(r.NormFloat64()) }, scaleFull, false},
	{"q8_0", func(r *rand.Rand, b *Block) { b.D = rounded(float32(r.NormFloat64())); b.M = -128 * b.D }, scaleShift, true},
	{"eight bits, half", func(r *rand.Rand, b *Block) {
		b.D, b.M = rounded(r.Float32()), rounded(float32(r.NormFloat64()))
	}, scaleHalf, true},
	{"eight bits, float", func(r *rand.Rand, b *Block) { b.D, b.M = r.Float32()/3, float32(r.NormFloat64()) }, scaleFull, true},
}

// build packs random blocks of a scheme and returns the values too.
func (s scheme) build(t *Team, r *rand.Rand, rows, cols int) (*Matrix, []float64) {
	blocks := make([]Block, rows*cols/blockSize)
	values := make([]float64, rows*cols)
	for i := range blocks {
		b := &blocks[i]
		s.make(r, b)
		for k := range b.Q {
			b.Q[k] = uint8(r.UintN(256))
			if r.IntN(10) == 0 {
				b.Q[k] = 255
			}
			if !s.eight {
				b.Q[k] &= 15
			}
			values[i*blockSize+k] = float64(b.D)*float64(b.Q[k]) + float64(b.M)
		}
	}
	get := func(row, block int, b *Block) { *b = blocks[row*cols/blockSize+block] }
	if s.eight {
		return Pack8(t, rows, cols, get), values
	}
	return Pack4(t, rows, cols, get), values
}

func TestPackKeepsValues(t *testing.T) {
	team := NewTeam(2)
	defer team.Close()
	for _, s := range schemes {
		t.Run(s.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				rows, cols := rapid.IntRange(1, 70).Draw(t, "rows"), 32*rapid.IntRange(1, 5).Draw(t, "blocks")
				w, values := s.build(team, seeded(t), rows, cols)
				if w.scaling != s.want && rows*cols >= 128 {
					t.Fatalf("scaling %d, want %d", w.scaling, s.want)
				}
				if w.Rows() != rows || w.Cols() != cols {
					t.Fatalf("%d x %d, want %d x %d", w.Rows(), w.Cols(), rows, cols)
				}
				row := make([]float32, cols)
				for i := range rows {
					w.Row(i, row)
					for k, v := range row {
						near(t, "w", i*cols+k, float64(v), float64(float32(values[i*cols+k])), 0)
					}
				}
			})
		})
	}
}

func TestPackBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for i, perBlock := range []int{18, 20, 24, 34, 36, 40} {
		w, _ := schemes[i].build(nil, r, 32, 64)
		if got := w.Bytes(); got != perBlock*64 {
			t.Errorf("%s: %d bytes, want %d", schemes[i].name, got, perBlock*64)
		}
	}
}

// exact is the product of the quantised activations with the weights, and the
// sum of magnitudes.
func exact(a *Acts, row int, w []float64) (sum, size float64) {
	for k, v := range w {
		b := k / blockSize
		x := float64(a.meta[(row*a.blocks+b)*metaSize]) * float64(a.q[row*a.stride+k])
		sum += x * v
		size += math.Abs(x * v)
	}
	return sum, size
}

func TestMatMul(t *testing.T) {
	team := NewTeam(2)
	defer team.Close()
	eachLevel(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			r := seeded(t)
			n := rapid.OneOf(rapid.IntRange(0, 8), rapid.IntRange(9, 60)).Draw(t, "n")
			cols := 32 * rapid.OneOf(rapid.IntRange(0, 6), rapid.SampledFrom([]int{32, 64})).Draw(t, "blocks")
			on := rapid.SampledFrom([]*Team{nil, team}).Draw(t, "team")
			x := random(r, n*cols)
			scale := rapid.SampledFrom([]float32{1, 1e-20, 1e15, 1e-41, 0}).Draw(t, "scale")
			for i := range x {
				x[i] *= scale
			}
			var a Acts
			a.Set(on, x, n, cols)
			count := rapid.IntRange(1, 4).Draw(t, "jobs")
			jobs := make([]Job, count)
			values := make([][]float64, count)
			before := make([][]float32, count)
			for i := range jobs {
				rows := rapid.OneOf(rapid.IntRange(1, 20), rapid.IntRange(21, 130)).Draw(t, "rows")
				j := &jobs[i]
				if k := rapid.IntRange(0, len(schemes)).Draw(t, "scheme"); k < len(schemes) {
					j.W, values[i] = schemes[k].build(on, r, rows, cols)
				} else {
					w := random(r, rows*cols)
					j.W = PackF32(on, rows, cols, w)
					for _, v := range w {
						values[i] = append(values[i], float64(v))
					}
				}
				j.Stride = rows + rapid.IntRange(0, 3).Draw(t, "gap")
				j.Dst = random(r, n*j.Stride)
				j.Add = rapid.Bool().Draw(t, "add")
				before[i] = slices.Clone(j.Dst)
			}
			MatMul(on, &a, jobs...)
			for i, j := range jobs {
				for e, got := range j.Dst {
					row, out := e/j.Stride, e%j.Stride
					if out >= j.W.Rows() {
						near(t, "gap", e, float64(got), float64(before[i][e]), 0)
						continue
					}
					var want, size float64
					if w := values[i][out*cols : (out+1)*cols]; j.W.form == formFloat {
						for k, v := range w {
							want += v * float64(x[row*cols+k])
							size += math.Abs(v * float64(x[row*cols+k]))
						}
					} else {
						want, size = exact(&a, row, w)
						// M is added apart from D*Q, so what cancels counts.
						size *= 8
					}
					if j.Add {
						want += float64(before[i][e])
						size += math.Abs(float64(before[i][e]))
					}
					near(t, "y", e, float64(got), want, 2e-6*size+1e-35)
				}
			}
		})
	})
}

// A row's bits are the same whatever the other rows, their number, and the team.
func TestMatMulSameBits(t *testing.T) {
	team := NewTeam(3)
	defer team.Close()
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 6))
		const n, cols, rows = 29, 192, 90
		x := random(r, n*cols)
		for _, s := range schemes {
			w, _ := s.build(nil, r, rows, cols)
			var a Acts
			a.Set(team, x, n, cols)
			whole := make([]float32, n*rows)
			MatMul(team, &a, Job{W: w, Dst: whole, Stride: rows})
			for _, size := range []int{1, 2, 3, 4, 5, 7} {
				part := make([]float32, size*rows)
				for i := 0; i+size <= n; i += size {
					a.Set(nil, x[i*cols:], size, cols)
					MatMul(nil, &a, Job{W: w, Dst: part, Stride: rows})
					if !slices.Equal(part, whole[i*rows:(i+size)*rows]) {
						t.Fatalf("%s: rows %d..%d alone differ", s.name, i, i+size)
					}
				}
			}
		}
	})
}

// The int8 form is that of the plain twin, but for ties at the rounding.
func TestQuantise(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			r := seeded(t)
			x := random(r, blockSize*rapid.IntRange(1, 9).Draw(t, "blocks"))
			scale := rapid.SampledFrom([]float32{1, 1e30, 1e-29, 1e-40, 0}).Draw(t, "scale")
			for i := range x {
				x[i] *= scale
			}
			if rapid.Bool().Draw(t, "largest") {
				x[0] = math.MaxFloat32
			}
			q, p := make([]int8, len(x)), make([]int8, len(x))
			m, pm := make([]float32, len(x)/8), make([]float32, len(x)/8)
			quantiseRow(q, m, x)
			plainQuantise(p, pm, x)
			for b := range len(x) / blockSize {
				var sum int32
				for i := b * blockSize; i < (b+1)*blockSize; i++ {
					if d := int(q[i]) - int(p[i]); d < -1 || d > 1 || q[i] == -128 {
						t.Fatalf("q[%d] = %d, plain %d, of %g", i, q[i], p[i], x[i])
					}
					sum += int32(q[i])
					if d := m[4*b]; d != 0 {
						near(t, "value", i, float64(q[i])*float64(d), float64(x[i]), 0.501*float64(d))
					}
				}
				near(t, "scale", b, float64(m[4*b]), float64(pm[4*b]), 1e-6*float64(pm[4*b]))
				near(t, "scaled sum", b, float64(m[4*b+1]), float64(m[4*b])*float64(sum), 1e-6*float64(m[4*b])*math.Abs(float64(sum)))
				if got := int32(math.Float32bits(m[4*b+2])); got != -sum {
					t.Fatalf("sum %d, want %d", got, -sum)
				}
			}
		})
	})
}

func TestMatMulOfNaNKeepsToItsRow(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(7, 8))
		const n, cols, rows = 8, 64, 40
		w, _ := schemes[1].build(nil, r, rows, cols)
		x := random(r, n*cols)
		var a Acts
		a.Set(nil, x, n, cols)
		want, got := make([]float32, n*rows), make([]float32, n*rows)
		MatMul(nil, &a, Job{W: w, Dst: want, Stride: rows})
		x[2*cols+5], x[4*cols] = float32(math.NaN()), float32(math.Inf(1))
		a.Set(nil, x, n, cols)
		MatMul(nil, &a, Job{W: w, Dst: got, Stride: rows})
		for i := range got {
			if r := i / rows; r != 2 && r != 4 && got[i] != want[i] {
				t.Fatalf("row %d changed", r)
			}
		}
	})
}

func TestMatMulAllocatesNothing(t *testing.T) {
	if underRace {
		t.Skip("sync.Pool drops at random under the race detector")
	}
	team := NewTeam(2)
	defer team.Close()
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 9))
		w, _ := schemes[1].build(nil, r, 64, 64)
		x, y := random(r, 64), make([]float32, 64)
		var a Acts
		if n := testing.AllocsPerRun(100, func() {
			a.Set(team, x, 1, 64)
			MatMul(team, &a, Job{W: w, Dst: y, Stride: 64}, Job{W: w, Dst: y, Stride: 64, Add: true})
		}); n >= 1 {
			t.Errorf("%v allocations", n)
		}
	})
}

func BenchmarkMatMul(b *testing.B) {
	team := NewTeam(0)
	defer team.Close()
	r := rand.New(rand.NewPCG(1, 1))
	for _, s := range []scheme{schemes[1], schemes[0], schemes[3]} {
		for _, d := range [][2]int{{576, 576}, {1536, 576}, {576, 1536}} {
			w, _ := s.build(team, r, d[0], d[1])
			for _, n := range []int{1, 4, 8, 64, 512} {
				for _, threads := range []int{1, team.Threads()} {
					on := team
					if threads == 1 {
						on = nil
					}
					x, y := random(r, n*d[1]), make([]float32, n*d[0])
					b.Run(fmt.Sprintf("%s/%dx%d/n=%d/threads=%d", s.name, d[0], d[1], n, threads), func(b *testing.B) {
						var a Acts
						least := fastest(b, func() {
							a.Set(on, x, n, d[1])
							MatMul(on, &a, Job{W: w, Dst: y, Stride: d[0]})
						})
						b.ReportMetric(2*float64(n)*float64(d[0])*float64(d[1])/least/1e9, "GOP/s")
					})
				}
			}
		}
	}
}

// A pass over weights too large for the caches, as decoding does it.
func BenchmarkRead(b *testing.B) {
	team := NewTeam(0)
	defer team.Close()
	r := rand.New(rand.NewPCG(1, 1))
	const rows, cols = 16 * 1536, 3072
	for _, s := range []scheme{schemes[1], schemes[0], schemes[3]} {
		var one Block
		s.make(r, &one)
		pack := Pack4
		if s.eight {
			pack = Pack8
		}
		w := pack(team, rows, cols, func(row, block int, b *Block) { *b = one; b.Q[row%32] = uint8(block) })
		x, y := random(r, cols), make([]float32, rows)
		for _, threads := range []int{1, team.Threads()} {
			on := team
			if threads == 1 {
				on = nil
			}
			b.Run(fmt.Sprintf("%s/threads=%d", s.name, threads), func(b *testing.B) {
				var a Acts
				least := fastest(b, func() {
					a.Set(on, x, 1, cols)
					MatMul(on, &a, Job{W: w, Dst: y, Stride: rows})
				})
				b.ReportMetric(float64(w.Bytes())/least/1e9, "GB/s")
			})
		}
	}
}

func BenchmarkPack4(b *testing.B) {
	team := NewTeam(0)
	defer team.Close()
	r := rand.New(rand.NewPCG(1, 1))
	var one Block
	schemes[1].make(r, &one)
	least := fastest(b, func() {
		Pack4(team, 8192, 576, func(row, block int, b *Block) { *b = one })
	})
	b.ReportMetric(least*1e9/(8192*18), "ns/block")
}
