// Package cuda trains and scores on NVIDIA GPUs what package train and package
// model do on the processor. The products are cuBLAS's in bfloat16 with sums in
// float32, everything else are kernels of this package (folder kernels),
// compiled for the model's shape when it is opened. It exists where
// crayon/internal/cuda does.
package cuda
