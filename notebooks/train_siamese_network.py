# %% [markdown]
# # Train a siamese network
#
# You have photos of things, several of each. At the end of this notebook there is a network that
# puts pictures of one thing close together and all others far apart, proof of how well it does
# that on things it never saw, and a checkpoint to index your pictures with.
#
# Run it as it is for the example (emoji, as six vendors draw them), or name your own data first.

# %% tags=["parameters"]
LABELED_DATA = None  # "/data/items.json"; None is the example
IMAGE_DIR = None  # folder of the pictures; None is the folder of LABELED_DATA
BACKBONE = "EfficientNetLite0"  # or any of keras.applications: "MobileNetV2", "ResNet50", …
PICTURE_SIZE = 128  # pixels of a side; 160 or 224 for photos with small details
EPOCHS = 6
CHECKPOINTS = "../checkpoints"
RESUME = False  # True goes on with a training that was stopped

# %%
import sys
from pathlib import Path

import siamese
from siamese.data.check import check_catalogue
from siamese.evaluation.verification import evaluate_verification
from siamese.models.devices import device_line
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

print(device_line())

# %% [markdown]
# ## The data
#
# One JSON file names the items, their pictures and, if you like, coarse labels:
#
# ```
# {"mug-017": {"images": [{"filename": "mugs/017.jpg"}, …], "labels": ["red", "ceramic"]}, …}
# ```
#
# `siamese from-folder` makes it of a folder with a subfolder an item. Broken files are listed here
# and left out of everything that follows; nothing stops because of them.

# %%
if LABELED_DATA is None:
    sys.path.append("..")
    from examples.emoji_catalogue import fetch_emoji_catalogue

    LABELED_DATA = fetch_emoji_catalogue(Path("../demo/emoji"))

checked = check_catalogue(LABELED_DATA, IMAGE_DIR)
print(checked, *checked.problems[:10], sep="\n")

# %% [markdown]
# An item a row: its id, its labels, its pictures.

# %%
catalogue = siamese.Catalogue.read(LABELED_DATA, IMAGE_DIR)
show(draw_collage(catalogue, items=6, pictures=6))

# %% [markdown]
# Seven tenths of the items are for training. All figures below are of the others: the network
# never sees any picture of them.

# %%
train, test = catalogue.split(0.7)
print(f"train {train}\ntest  {test}")

# %% [markdown]
# ## What the network is shown
#
# Positive pairs are two pictures of one item. Negative pairs are pictures of two items **that
# share no label**: two items with a common label may well look alike, so calling them different
# would teach a falsehood. Such pairs are left out.

# %%
few, _ = train.split(min(0.5, 100 / len(train.items)))  # enough to look at
generator = siamese.PairGenerator(few, picture_size=PICTURE_SIZE)
show(draw_pairs(generator))

# %% [markdown]
# ## The network
#
# One embedding model, used twice: a pretrained backbone, the average of its features, scaled to
# length 1. The siamese network answers the distance of two pictures, between 0 and 2. In training
# each picture of a batch is embedded once and all pairs of the batch count.

# %%
network = siamese.siamese_network(siamese.embedding_model(BACKBONE, PICTURE_SIZE))
network.summary()

# %% [markdown]
# ## Before training
#
# The pretrained network knows ImageNet, not your items. It is what training has to beat.

# %%
before = siamese.Embedder.pretrained()
embedded_before = siamese.embed_catalogue(before, test)
embedded_before.vectors.shape

# %% [markdown]
# ## Training
#
# Left the loss, right how well items are found that are held out from training: recall@1 is how
# often the nearest picture is of the same item, MAP@R asks for *all* pictures of the item before
# any other. The best epoch by MAP@R is the one that is kept. Stopped? Set `RESUME` and run
# everything again.

# %%
recipe = siamese.Recipe(backbone=BACKBONE, picture_size=PICTURE_SIZE, epochs=EPOCHS)
trained = siamese.train(train, recipe, Path(CHECKPOINTS), resume=RESUME, watch=LiveTrainingCurves())

# %%
print(f"{trained.model}: the model of epoch {trained.best_epoch}")
after = siamese.Embedder.load(trained.model)
embedded_after = siamese.embed_catalogue(after, test)

# %% [markdown]
# ## What it brought, on items it never saw

# %%
comparison = compare_embeddings(embedded_before, embedded_after, queries=6)
show_metrics(comparison)

# %% [markdown]
# ### Distances
#
# Green are the distances of positive pairs, red those of negative pairs. Training pulls the two
# hills apart; the line is the distance that separates them best.

# %%
pairs_before = evaluate_verification(embedded_before)
pairs_after = evaluate_verification(embedded_after)
show(draw_distance_histograms(pairs_before, pairs_after))

# %% [markdown]
# ### Are these two the same thing?
#
# With that threshold the network answers for any two pictures. How often it is right, for as many
# positives as negatives, and what happens at other thresholds:

# %%
print(f"before: {pairs_before}\nafter:  {pairs_after}")
show(draw_roc_curves(pairs_before, pairs_after), width=480)

# %% [markdown]
# ### A map
#
# The embeddings laid out on a plane by t-SNE, after training: what lies close together here is
# close together for the network. Each picture is of an item it never saw.

# %%
show(draw_embedding_map(embedded_after, test))

# %% [markdown]
# ### Neighbours
#
# A query a row; green is the same item, red another one.

# %%
show(draw_neighbours(comparison, test))

# %% [markdown]
# ## What to do with it
#
# The commands for the checkpoint that was written, to be typed in the folder of the project (`make
# bash-cpu` or `make bash-gpu` opens a shell there):

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
