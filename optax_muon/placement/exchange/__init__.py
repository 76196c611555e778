"""The exchange on a mesh with known shardings: all-to-all there, whole matrices computed, all-to-all back.

The nouns of the engine, on one example that the docstrings of this package return to. A mesh of four devices has the
axis ``fsdp``. Four float32 matrices are sharded over their first axis, ``PartitionSpec("fsdp")``:

- A and B of shape (8, 32): each device holds rows of shape (2, 32);
- C and D of shape (32, 8): each device holds rows of shape (8, 8).

**Tile**: what one device holds of one matrix. A falls into four tiles of shape (2, 32), C into four of (8, 8); every
tile of the example has 64 elements. A tile is no matrix: orthogonalizing tiles is not orthogonalizing A.

**Bucket**: like matrices that one device computes together. Were there no mesh, the one device would join all four
matrices in a bucket of shape (4, 8, 32), C and D transposed, since a map that commutes with transposition may take
them wide side last. On the mesh each device computes one matrix, a bucket of shape (1, 8, 32).

**Run**: matrices that the devices compute at the same time, one on each. Four matrices on four devices are one run:
device 0 computes A, device 1 B, device 2 C and device 3 D. Eight like A would be one run of two repetitions.

**Round**: one exchange there and back, of one or several runs. Every device packs one tile for every other, (4, 64)
elements. After the all-to-all device 0 holds the four tiles of A, again (4, 64), and assembles them to (8, 32); device
2 assembles C to (32, 8) and transposes it. They compute, cut the results into tiles, (4, 64), and the second
all-to-all takes every tile back to where its gradient was. Each way a device sends 4 * 64 * 4 = 1024 bytes (a quarter
of them to itself); runs whose bytes of both ways exceed ``OverMesh.max_bytes`` together go in further rounds.

**Remainder**: matrices left over a multiple of the devices. On an Auto mesh without specs (`_by_constraints`) shapes
travel on their own: A and B are one stack, C and D another, and each alone would leave two devices idle. The two
remainders have one short side, so they share one row of four places: A and B take places 0 and 1, C and D 2 and 3.
"""
