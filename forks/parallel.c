/* What numerical code does in threads that the program did not start: GNU OpenMP's and OpenBLAS's. */
#include <omp.h>
#include <stdlib.h>

/* Declared here, so that compiling needs no BLAS; linking does. */
enum { ROW_MAJOR = 101, AS_IT_IS = 111 };
void cblas_dgemm(int order, int transpose_a, int transpose_b, int rows, int columns, int inner,
                 double alpha, const double *a, int a_row, const double *b, int b_row, double beta,
                 double *c, int c_row);
int openblas_get_num_threads(void);
void openblas_set_num_threads(int threads);

#ifdef WITHOUT_OPENBLAS
/* For machines that cannot have OpenBLAS: a product by threads that end with it. */
#include <pthread.h>

struct part {
    int first, last, length;
    const double *a, *b;
    double *c;
};

static void *multiply(void *given)
{
    const struct part *part = given;
    for (int row = part->first; row < part->last; row++)
        for (int column = 0; column < part->length; column++)
            for (int at = 0; at < part->length; at++)
                part->c[row * part->length + column] +=
                    part->a[row * part->length + at] * part->b[at * part->length + column];
    return NULL;
}

void cblas_dgemm(int order, int transpose_a, int transpose_b, int rows, int columns, int inner,
                 double alpha, const double *a, int a_row, const double *b, int b_row, double beta,
                 double *c, int c_row)
{
    (void)order, (void)transpose_a, (void)transpose_b, (void)columns, (void)inner, (void)alpha;
    (void)a_row, (void)b_row, (void)beta, (void)c_row;
    struct part upper = {0, rows / 2, rows, a, b, c}, lower = {rows / 2, rows, rows, a, b, c};
    pthread_t other;
    int apart = !pthread_create(&other, NULL, multiply, &lower);
    multiply(&upper);
    if (apart)
        pthread_join(other, NULL);
    else
        multiply(&lower);
}

int openblas_get_num_threads(void)
{
    return 2;
}

void openblas_set_num_threads(int threads)
{
    (void)threads;
}
#endif

/* The sum of the numbers from 1 to last, and how many threads have added. */
double openmp_sum(long last, int *threads)
{
    double sum = 0;
    int team = 0;
#pragma omp parallel for reduction(+ : sum) reduction(max : team)
    for (long number = 1; number <= last; number++) {
        sum += (double)number;
        team = omp_get_num_threads();
    }
    *threads = team;
    return sum;
}

/* The sum over the product of a matrix of ones and one of twos, and how many threads may take part;
   -1 without memory. Where OpenBLAS was told to start none when it was loaded, it starts two now. */
double blas_product(int length, int *threads)
{
    if (openblas_get_num_threads() == 1)
        openblas_set_num_threads(2);
    size_t count = (size_t)length * (size_t)length;
    double *a = calloc(3 * count, sizeof(double));
    double sum = 0;
    if (!a)
        return -1;
    double *b = a + count, *c = b + count;
    for (size_t at = 0; at < count; at++) {
        a[at] = 1;
        b[at] = 2;
    }
    cblas_dgemm(ROW_MAJOR, AS_IT_IS, AS_IT_IS, length, length, length, 1, a, length, b, length, 0, c,
                length);
    for (size_t at = 0; at < count; at++)
        sum += c[at];
    free(a);
    *threads = openblas_get_num_threads();
    return sum;
}
