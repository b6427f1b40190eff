# %% [markdown]
# # Train a siamese network
#
# You have photos of items, several of each. This notebook trains a network that maps pictures of
# the same item to vectors close together, and pictures of different items to vectors far apart.
# It evaluates the network on items that were not used for training, and saves a checkpoint to
# index your pictures with.
#
# Run the notebook as it is to train on emoji, drawn by six vendors, or enter your own data below.

# %% tags=["parameters"]
LABELED_DATA = None  # "/data/items.json"; None uses the emoji
IMAGE_DIR = None  # folder of the pictures; None uses the folder of LABELED_DATA
BACKBONE = "EfficientNetLite0"  # or any model of keras.applications: "MobileNetV2", "ResNet50", …
PICTURE_SIZE = 128  # side length in pixels; use 160 or 224 for photos with small details
EPOCHS = 6
CHECKPOINTS = "../checkpoints"
RESUME = False  # True continues an interrupted training

# %%
import sys
from pathlib import Path

import siamese
from siamese.data.check import check_catalogue
from siamese.evaluation.verification import evaluate_verification
from siamese.models.devices import describe_device
from siamese.reports import (
    compare_embeddings,
    draw_collage,
    draw_distance_histograms,
    draw_embedding_map,
    draw_neighbours,
    draw_pairs,
    draw_roc_curves,
)
from siamese.reports.notebook_display import LiveTrainingCurves, show, show_metrics

print(describe_device())

# %% [markdown]
# ## The data
#
# A JSON file lists the items with their pictures and, optionally, coarse labels:
#
# ```
# {"mug-017": {"images": [{"filename": "mugs/017.jpg"}, …], "labels": ["red", "ceramic"]}, …}
# ```
#
# `siamese from-folder` creates it from a folder with one subfolder per item. The check below lists
# broken files. They are skipped in all later steps.

# %%
if LABELED_DATA is None:
    sys.path.append("..")
    from examples.emoji_catalogue import fetch_emoji_catalogue

    LABELED_DATA = fetch_emoji_catalogue(Path("../demo/emoji"))

checked = check_catalogue(LABELED_DATA, IMAGE_DIR)
print(checked, *checked.problems[:10], sep="\n")

# %% [markdown]
# Each row is an item, with its id, labels and pictures.

# %%
catalogue = siamese.Catalogue.read(LABELED_DATA, IMAGE_DIR)
show(draw_collage(catalogue, items=6, pictures=6))

# %% [markdown]
# 70 % of the items are used for training. All metrics below are computed on the other items, so
# they show how well the network works on items it has never seen.

# %%
train, test = catalogue.split(0.7)
print(f"train {train}\ntest  {test}")

# %% [markdown]
# ## Pairs
#
# A positive pair is two pictures of the same item. A negative pair is two pictures of items **that
# share no label**. Items that share a label may look alike, so they are never used as negatives.

# %%
few, _ = train.split(min(0.5, 100 / len(train.items)))  # a few pairs are enough here
generator = siamese.PairGenerator(few, picture_size=PICTURE_SIZE)
show(draw_pairs(generator))

# %% [markdown]
# ## The network
#
# The embedding model is a pretrained backbone with global average pooling. It maps pictures of
# shape (n, size, size, 3) to vectors of shape (n, dimensions) and length 1. The siamese network
# applies it to two batches of pictures and returns their distances, from 0 to 2, with shape (n,).

# %%
network = siamese.siamese_network(siamese.embedding_model(BACKBONE, PICTURE_SIZE))
network.summary()

# %% [markdown]
# ## Before training
#
# The pretrained network is the baseline. Its embeddings of the test items have the shape (pictures,
# dimensions).

# %%
before = siamese.Embedder.pretrained()
embedded_before = siamese.embed_catalogue(before, test)
embedded_before.vectors.shape

# %% [markdown]
# ## Training
#
# The left chart shows the loss, the right one the retrieval metrics on items held out from
# training. Recall@1 is the share of queries whose nearest picture shows the same item. MAP@R is 1
# if *all* pictures of the item are nearer than any other picture. The epoch with the highest MAP@R
# is kept.
# To continue an interrupted training, set `RESUME = True` and run all cells again.

# %%
recipe = siamese.Recipe(backbone=BACKBONE, picture_size=PICTURE_SIZE, epochs=EPOCHS)
trained = siamese.train(train, recipe, Path(CHECKPOINTS), resume=RESUME, watch=LiveTrainingCurves())

# %%
print(f"{trained.model}: the model of epoch {trained.best_epoch}")
after = siamese.Embedder.load(trained.model)
embedded_after = siamese.embed_catalogue(after, test)

# %% [markdown]
# ## Results on the test items

# %%
comparison = compare_embeddings(embedded_before, embedded_after, queries=6)
show_metrics(comparison)

# %% [markdown]
# ### Distances
#
# The histograms show the distances of positive pairs in green and of negative pairs in red. After
# training they should overlap less. The line is the threshold that separates them best.

# %%
pairs_before = evaluate_verification(embedded_before)
pairs_after = evaluate_verification(embedded_after)
show(draw_distance_histograms(pairs_before, pairs_after))

# %% [markdown]
# ### Verification
#
# With this threshold the network decides whether two pictures show the same item. The accuracy is
# balanced: positive and negative pairs have the same weight. The ROC curve shows the other
# thresholds.

# %%
print(f"before: {pairs_before}\nafter:  {pairs_after}")
show(draw_roc_curves(pairs_before, pairs_after), width=480)

# %% [markdown]
# ### Map of the embeddings
#
# t-SNE places the test pictures on a plane, so that pictures with similar embeddings are close
# together. Look for clusters of the same item.

# %%
show(draw_embedding_map(embedded_after, test))

# %% [markdown]
# ### Neighbours
#
# Each row shows a query and its nearest pictures before and after training. Green is the same item,
# red is another item.

# %%
show(draw_neighbours(comparison, test))

# %% [markdown]
# ## Next steps
#
# These commands export the checkpoint, build an index and search it. Run them in the folder of the
# project; `make bash-cpu` or `make bash-gpu` opens a shell there.

# %%
checkpoint = Path(trained.model).as_posix().removeprefix("../")
items = Path(LABELED_DATA).as_posix().removeprefix("../")
image_dir = Path(catalogue.image_dir).as_posix().removeprefix("../")
example = test.pictures[0].filename
print(f"""\
python utilities.py --export savedmodel --keras-model {checkpoint}
python utilities.py --export balltree --keras-model {checkpoint} \\
    --labeled-data {items} --image-dir {image_dir}
siamese search --index search_index.pkl --image-dir {image_dir} --output results.html \\
    {image_dir}/{example}""")
