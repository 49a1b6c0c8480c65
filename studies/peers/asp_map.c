/* What ASP's CUDA kernel `build_permute_map` computes, on a CPU: of the 35 ways to part the eight columns of two
 * stripes the one that keeps most after 2:4, and what it gains. A row's best two of four are found from pairs:
 * max(max(a, b) + max(c, d), a + b, c + d). */
#include <stdint.h>

enum { LANES = 16, PAIRS = 28, SPLITS = 35 };
typedef float vec[LANES];

static int pair(int i, int j) { return i * (15 - i) / 2 + j - i - 1; } /* 0 <= i < j < 8 */

/* columns: [cols][rows], not negative, rows a multiple of 16 (zeros at the end add nothing);
 * stripes: [groups][2]; splits: [35][8], ascending within each half; gain, best: [groups] */
void build_permute_map(const float *columns, int64_t rows, const uint32_t *stripes, int64_t groups,
                       const uint32_t *splits, float *gain, uint32_t *best) {
  int at[SPLITS][2][2];
  for (int s = 0; s < SPLITS; s++)
    for (int h = 0; h < 2; h++) {
      const uint32_t *c = splits + 8 * s + 4 * h;
      at[s][h][0] = pair(c[0], c[1]);
      at[s][h][1] = pair(c[2], c[3]);
    }
  for (int64_t g = 0; g < groups; g++) {
    vec kept[SPLITS] = {{0}}, most[PAIRS], sum[PAIRS];
    const float *x[8];
    for (int i = 0; i < 8; i++) x[i] = columns + ((int64_t)stripes[2 * g + i / 4] * 4 + i % 4) * rows;
    for (int64_t r = 0; r < rows; r += LANES) {
      for (int i = 0; i < 8; i++)
        for (int j = i + 1; j < 8; j++) {
          const float *a = x[i] + r, *b = x[j] + r;
          float *m = most[pair(i, j)], *p = sum[pair(i, j)];
          for (int k = 0; k < LANES; k++) {
            m[k] = a[k] > b[k] ? a[k] : b[k];
            p[k] = a[k] + b[k];
          }
        }
      for (int s = 0; s < SPLITS; s++)
        for (int h = 0; h < 2; h++) {
          const float *m = most[at[s][h][0]], *n = most[at[s][h][1]];
          const float *p = sum[at[s][h][0]], *q = sum[at[s][h][1]];
          for (int k = 0; k < LANES; k++) {
            float one = m[k] + n[k], two = p[k] > q[k] ? p[k] : q[k];
            kept[s][k] += one > two ? one : two;
          }
        }
    }
    double given = 0, record = 0;
    gain[g] = 0;
    best[g] = 0;
    for (int s = 0; s < SPLITS; s++) {
      double total = 0;
      for (int k = 0; k < LANES; k++) total += kept[s][k];
      if (s == 0) given = record = total;
      if (total > record) {
        record = total;
        gain[g] = (float)(total - given);
        best[g] = s;
      }
    }
  }
}
