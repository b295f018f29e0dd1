import numpy as np

from clip2scene.datasets.convert.nearest import nearest_clouds


def test_pairing_is_that_of_trying_all():
    rng = np.random.default_rng(0)
    for most in (0, 7, 50, 10**6):
        clouds, images = (sorted(rng.choice(1000, count, replace=False).tolist()) for count in (12, 40))
        came, slow = {}, {}
        for image in images:
            cloud = min(clouds, key=lambda each: (abs(each - image), each))
            came.setdefault(cloud, []).append(image)
        for cloud, given in came.items():
            image = min(given, key=lambda each: (abs(each - cloud), each))
            if abs(cloud - image) <= most:
                slow[image] = cloud
        assert nearest_clouds(clouds, images, most) == slow
    assert nearest_clouds([0, 60], [-40, 32], 50) == {-40: 0, 32: 60}, "32 is nearer to 0, but went to 60"
    assert nearest_clouds([], [1], 5) == nearest_clouds([1], [], 5) == {}
    assert nearest_clouds([3], [1, 2, 9], 5) == {2: 3}
